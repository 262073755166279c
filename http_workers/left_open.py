"""Attempts whose handlers have called `activity.raise_complete_async()`: they are left to clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from temporalio.service import RPCError

from delegator.postgres.connections import Connection
from delegator.postgres.queue_asynchronous import AsynchronousStatements
from delegator.postgres.queue_table import QueueTable
from http_workers.activity_tasks import ActivityTasks
from http_workers.job import Job

Write = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]
"""Runs a statement until the server takes it."""


class LeftOpen:
    """Leaves attempts open. The worker's lease does not hold their rows any more."""

    def __init__(self, table: QueueTable, activity_tasks: ActivityTasks) -> None:
        """Prepare.

        Args:
            table: the queue's table.
            activity_tasks: takes the heartbeats of activity tasks.
        """
        self._table = table
        self._statements = AsynchronousStatements(table.queue)
        self._activity_tasks = activity_tasks

    async def leave(self, jobs: Sequence[Job], write: Write) -> None:
        """Leave attempts to clients. An activity task is completed at Temporal, so its job's row goes.

        Args:
            jobs: the jobs.
            write: runs statements.
        """
        tasks = [job for job in jobs if job.row.task_token is not None]
        for job in tasks:
            if job.details_changed:
                with suppress(RPCError):  # a heartbeat is no promise
                    await self._activity_tasks.heartbeat(job)
        if tasks:
            await write(lambda db: self._table.delete_held(db, [job.held for job in tasks]))
        ours = [job for job in jobs if job.row.task_token is None]
        if beats := await self._activity_tasks.last_details(ours):
            await write(lambda db: self._table.heartbeat(db, beats))
        if ours:
            await write(lambda db: self._statements.leave_open(db, [(*job.held, job.left_ms) for job in ours]))
