"""Pauses of queues and types in the in-memory engine, as the commands `queues pause` and `types pause` make them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from delegator.testing.records import JobStatus
from delegator.testing.rows import Row


@dataclass(slots=True)
class Pauses:
    """Which queues and types are paused."""

    queues: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)

    def cover(self, row: Row) -> bool:
        """Return whether a job's queue or its type is paused."""
        return row.queue in self.queues or row.job_type in self.types

    def hold(self, rows: Iterable[Row]) -> None:
        """Pause those of some jobs that are to be paused, that wait or back off, and whose deadlines are not over.

        Their deadlines stand still until `free`.
        """
        now = time.monotonic()
        for row in rows:
            if row.paused_at is not None or row.job is not None or row.outcome is not None or not self.cover(row):
                continue
            due_at = row.due_at()
            if due_at is not None and due_at <= now:
                continue
            if row.timer is not None and row.status is JobStatus.BACKING_OFF:
                row.resumes_at = row.timer.when()
            row.stop_timer()
            row.paused_at, row.status = now, JobStatus.WAITING

    def free(self, rows: Iterable[Row], take: Callable[[Iterable[Row]], None]) -> None:
        """Go on with the paused jobs that no pause holds any more.

        Their next attempts are due when they would have been, or now.

        Args:
            rows: all jobs.
            take: takes jobs, in their order.
        """
        loop = asyncio.get_running_loop()
        due = []
        for row in rows:
            if row.paused_at is None or row.outcome is not None or self.cover(row):
                continue
            row.paused_seconds += time.monotonic() - row.paused_at
            row.paused_at = None
            at, row.resumes_at = row.resumes_at, None
            if at is not None and at > loop.time():
                row.status = JobStatus.BACKING_OFF
                row.timer = loop.call_at(at, take, [row])
            else:
                due.append(row)
        take(due)
