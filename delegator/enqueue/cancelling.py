"""Cancels the jobs of a workflow run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.inline import CONNECTION_SECONDS
from delegator.errors import first_line
from delegator.postgres.connections import Pool
from delegator.runtime.backoff import Backoff
from delegator.runtime.exception_groups import unwrapped

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 6.0
"""How long the queues that did not answer are asked again. The local activity has ten seconds."""


async def cancel_jobs(jobs: Mapping[str, Sequence[str]], pool: Pool, enqueuer: Enqueuer) -> set[str]:
    """Remove waiting jobs and ask running ones to stop. Return the ids of the removed ones.

    A removed job's outcome is in the reply and nowhere else. So one queue that does not answer (its table is locked)
    must not keep back the reply of the others: it is asked again, and at last left out.

    Args:
        jobs: ids by queue. Jobs of one queue do not wait for those of another one.
        pool: connections to PostgreSQL.
        enqueuer: knows the queues.

    Raises:
        psycopg.Error: a queue did not answer, and no job was removed.
    """
    removed: set[str] = set()
    failed: dict[str, psycopg.Error] = {}
    tables = {queue: enqueuer.table(queue) for queue in jobs}

    async def cancel_in(queue: str) -> None:
        try:
            async with pool.share(queue).connection(CONNECTION_SECONDS) as connection:
                gone, _ = await tables[queue].cancel(connection, jobs[queue])
        except psycopg.Error as error:
            failed[queue] = error
        else:
            failed.pop(queue, None)
            removed.update(gone)

    until, backoff = time.monotonic() + _PATIENCE_SECONDS, Backoff()
    asked = list(jobs)
    while True:
        with unwrapped():
            async with asyncio.TaskGroup() as group:
                for queue in asked:
                    group.create_task(cancel_in(queue))
        asked = list(failed)
        if failed and not removed:
            raise next(iter(failed.values()))
        if not failed or time.monotonic() >= until:
            break
        await backoff.sleep()
    for queue, error in failed.items():
        _log.warning("jobs_not_cancelled", extra={"queue": queue, "reason": first_line(error)})
    return removed
