"""What this worker says of itself when it renews its lease."""

from __future__ import annotations

import heapq
import time
from collections.abc import Collection
from datetime import UTC, datetime
from operator import attrgetter

from delegator.postgres.lease_reports import MOST_JOBS, RunningJob, WorkerReport
from http_workers.job import Job


def report_of(slots: int, running: Collection[Job]) -> WorkerReport:
    """Return the report of a worker.

    Args:
        slots: how many jobs it may run at once.
        running: the jobs that it runs, or that wait here for their type's limit.
    """
    to_epoch = time.time() - time.monotonic()

    def moment(monotonic: float) -> datetime:
        return datetime.fromtimestamp(monotonic + to_epoch, UTC)

    begun = (job for job in running if job.taken_at)
    oldest = heapq.nsmallest(MOST_JOBS, begun, key=attrgetter("taken_at"))
    jobs = [
        RunningJob(job.job_id, moment(job.taken_at), None if job.details is None else moment(job.heartbeat_at))
        for job in oldest
    ]
    return WorkerReport(slots, len(running), jobs, datetime.now(UTC))
