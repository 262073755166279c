"""Cancels the jobs of a workflow run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.inline import CONNECTION_SECONDS
from delegator.postgres.connections import Pool
from delegator.runtime.exception_groups import unwrapped


async def cancel_jobs(jobs: Mapping[str, Sequence[str]], pool: Pool, enqueuer: Enqueuer) -> set[str]:
    """Remove waiting jobs and ask running ones to stop. Return the ids of the removed ones.

    Args:
        jobs: ids by queue. Jobs of one queue do not wait for those of another one.
        pool: connections to PostgreSQL.
        enqueuer: knows the queues.
    """
    removed: set[str] = set()

    async def cancel_in(queue: str, job_ids: Sequence[str]) -> None:
        table = enqueuer.table(queue)
        async with pool.share(queue).connection(CONNECTION_SECONDS) as connection:
            gone, _ = await table.cancel(connection, job_ids)
        removed.update(gone)

    with unwrapped():
        async with asyncio.TaskGroup() as group:
            for queue, job_ids in jobs.items():
                group.create_task(cancel_in(queue, job_ids))
    return removed
