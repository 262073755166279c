"""What running handlers do that can't wait for the monitor's next look: heartbeats of tasks, and use of the client."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import psycopg
from temporalio.service import RPCError

from delegator.postgres.connections import Pool
from delegator.postgres.queue_table import QueueTable
from http_workers.activity_tasks import ActivityTasks
from http_workers.job import Job

_LONGEST_INTERVAL_SECONDS: Final = 0.5
_SHARE_OF_TIMEOUT: Final = 0.8  # as in the SDK


class Prompts:
    """Takes notice of what handlers do, in any thread, and acts on it at once."""

    def __init__(self) -> None:
        """Begin without notices. It belongs to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._beating: asyncio.Queue[Job] = asyncio.Queue()
        self._asking: asyncio.Queue[Job] = asyncio.Queue()

    def heartbeat(self, job: Job) -> None:
        """Send a heartbeat of an activity task. Temporal would time the task out, or lose the details.

        The first heartbeat is sent at once. Those that follow soon are sent together, after a pause.
        """
        if not job.is_beating:
            job.is_beating = True
            self._loop.call_soon_threadsafe(self._beating.put_nowait, job)

    def asked_for_client(self, job: Job) -> None:
        """Let the outcome of a job come by signal.

        What the handler sends to its own workflow must come before the outcome. Temporal holds it back while the
        workflow's task is open, so the enqueuer must not wait inline.
        """
        self._loop.call_soon_threadsafe(self._asking.put_nowait, job)

    async def run(self, pool: Pool, table: QueueTable, tasks: ActivityTasks) -> None:
        """Act on notices until cancelled.

        Args:
            pool: connections.
            table: the queue's table.
            tasks: takes the heartbeats of activity tasks.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leave_to_signals(pool, table))
            while True:
                group.create_task(_send_heartbeats(await self._beating.get(), tasks))

    async def _leave_to_signals(self, pool: Pool, table: QueueTable) -> None:
        while True:
            job = await self._asking.get()
            with suppress(psycopg.Error):  # the finisher does it at the attempt's end, and repeats it
                async with pool.connection() as connection:
                    await table.leave_to_signal(connection, [job.held])


async def _send_heartbeats(job: Job, tasks: ActivityTasks) -> None:
    """Send heartbeats of a job while it has new ones."""
    limit = job.options.heartbeat_timeout
    interval = _LONGEST_INTERVAL_SECONDS
    if limit is not None:
        interval = min(interval, limit.total_seconds() * _SHARE_OF_TIMEOUT)
    while True:
        while job.details_changed and job.task is not None and not job.lost:
            job.details_changed = False
            try:
                if not await tasks.heartbeat(job):
                    job.cancel_requested = True  # ended elsewhere: no workflow waits for the outcome
            except (RPCError, RuntimeError):  # RuntimeError: a lazy client could not connect
                job.details_changed = True
            if job.cancel_requested:
                job.tell_of_cancellation()
            await asyncio.sleep(interval)
        job.is_beating = False
        # A thread may have noted a heartbeat in between, and then it saw that the job was beating.
        if not job.details_changed or job.task is None or job.lost:
            return
        job.is_beating = True
