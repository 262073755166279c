"""Watching running jobs: timeouts, cancellations, lost leases, heartbeats."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from temporalio.exceptions import TimeoutType

from delegator.postgres.connections import Pool
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.queue_table import QueueTable
from http_workers.activity_tasks import ActivityTasks
from http_workers.job import Job

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.1
_INTERVAL_SECONDS = 0.5
_YOUNG_SECONDS = 0.5
_TEMPORAL_GRACE_SECONDS = 1.0
_CLEAN_UP_SECONDS = 1.0


class Monitor:
    """Ends attempts that take too long. It also reads the rows of running jobs, many in one statement."""

    def __init__(
        self,
        *,
        pool: Pool,
        table: QueueTable,
        activity_tasks: ActivityTasks,
        database: DatabaseWatch,
        running: Iterable[Job],
        claims: bool,
        report: Callable[[Job], None],
    ) -> None:
        """Prepare the monitor.

        Args:
            pool: connections.
            table: the queue's table.
            activity_tasks: encodes heartbeat details.
            database: gets each success and each error of the statements.
            running: the jobs that run. The collection changes.
            claims: whether this worker claims rows. Only claimed rows can be lost.
            report: see `watch_clock`.
        """
        self._pool = pool
        self._table = table
        self._activity_tasks = activity_tasks
        self._database = database
        self._running = running
        self._claims = claims
        self._report = report

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_clock(self._running, self._report))
            group.create_task(self._watch_rows())

    async def _watch_rows(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            now = time.monotonic()
            jobs = [
                job
                for job in self._running
                if job.taken_at and now - job.taken_at > _YOUNG_SECONDS and not job.reported
            ]
            if not jobs:
                self._database.ended()
                continue
            try:
                await self._look(jobs)
            except Exception as error:
                await self._database.failed(error)
            else:
                self._database.works()

    async def _look(self, jobs: Sequence[Job]) -> None:
        if self._claims:
            pairs = [job.held for job in jobs]
            # Temporal tells an activity of its cancellation in the reply to a heartbeat.
            beating = {job for job in jobs if job.details_changed}
            async with self._pool.connection() as connection:
                held = await self._table.held(connection, pairs)
                beats = await self._activity_tasks.details([job for job in jobs if job.row.task_token is None])
                if beats:
                    await self._table.heartbeat(connection, beats)
            for job in jobs:
                if job.job_id not in held:
                    _log.warning("job_lost", extra={"job_id": job.job_id, "job_type": job.job_type})
                    job.lose()
                elif held[job.job_id] and not job.cancel_requested:
                    job.request_cancel()
                    if job in beating:
                        job.tell_of_cancellation()


async def watch_clock(running: Iterable[Job], report: Callable[[Job], None]) -> None:
    """End attempts that take too long, or send no heartbeat for too long, until cancelled.

    Args:
        running: the jobs that run. The collection changes.
        report: called when a handler still runs a second after its attempt has timed out. The attempt is over by then.
    """
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        now = time.monotonic()
        for job in running:
            if job.timed_out is not None:
                if not job.reported and job.timed_out_at + _CLEAN_UP_SECONDS < now:
                    _log.warning("handler_runs_on", extra={"job_id": job.job_id, "job_type": job.job_type})
                    job.reported = True
                    report(job)
            elif job.taken_at:
                _time_out(job, now)


def _time_out(job: Job, now: float) -> None:
    if job.due_at is not None and now >= job.due_at:
        job.time_out(job.due_timeout_type)
    limit = job.options.heartbeat_timeout
    if limit is not None and job.started_at:
        # Temporal times activity tasks out. This only ends a handler whose task has timed out.
        grace = 0.0 if job.row.task_token is None else _TEMPORAL_GRACE_SECONDS
        if now - job.heartbeat_at > limit.total_seconds() + grace:
            job.time_out(TimeoutType.HEARTBEAT)
