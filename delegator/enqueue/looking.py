"""Looks for the jobs that a workflow run waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain

from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.inline import CONNECTION_SECONDS
from delegator.postgres.connections import Pool
from delegator.postgres.queue_enqueue import KnownJob
from delegator.runtime.exception_groups import unwrapped
from delegator.wire.pending import Looked


async def look_for(
    jobs: Mapping[str, Sequence[str]], pool: Pool, enqueuer: Enqueuer, *, at_deadline: bool, tells_retrying: bool
) -> Looked:
    """Return what the queues have of jobs, finished or not.

    Args:
        jobs: ids by queue. Jobs of one queue do not wait for those of another one.
        pool: connections to PostgreSQL.
        enqueuer: knows the queues.
        at_deadline: also say which of them are in time.
        tells_retrying: also say whether one of them is retried.
    """
    known: dict[str, KnownJob] = {}

    async def look_in(queue: str, job_ids: Sequence[str]) -> None:
        table = enqueuer.table(queue)
        async with pool.share(queue).connection(CONNECTION_SECONDS) as connection:
            known.update(await table.known(connection, job_ids))

    with unwrapped():
        async with asyncio.TaskGroup() as group:
            for queue, job_ids in jobs.items():
                group.create_task(look_in(queue, job_ids))
    return Looked.at(chain.from_iterable(jobs.values()), known, at_deadline=at_deadline, tells_retrying=tells_retrying)
