"""What this worker says of itself when it renews its lease."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final, NamedTuple

from delegator.postgres.lease_reports import MOST_JOBS, RUN_BOUNDS, RecentRuns, RunningJob, WorkerReport
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics

_WINDOW_SECONDS: Final = 60.0


class _Reading(NamedTuple):
    """The worker's series at a moment."""

    at: float
    claimed: int
    durations: list[int]


class LeaseReport:
    """Makes the reports of a worker.

    What it has done lately is computed from its series when it reports, so that a job costs nothing for it.
    """

    def __init__(
        self,
        slots: int,
        running: Callable[[], Collection[Job]],
        metrics: WorkerMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            slots: how many jobs the worker may run at once.
            running: returns the jobs that it runs, or that wait here for their type's limit.
            metrics: the worker's series.
            clock: in seconds.
        """
        self._slots = slots
        self._running = running
        self._metrics = metrics
        self._clock = clock
        self._readings: deque[_Reading] = deque()

    def __call__(self) -> WorkerReport:
        """Return a report."""
        running = self._running()
        to_epoch = time.time() - time.monotonic()

        def moment(monotonic: float) -> datetime:
            return datetime.fromtimestamp(monotonic + to_epoch, UTC)

        begun = (job for job in running if job.taken_at)
        oldest = heapq.nsmallest(MOST_JOBS, begun, key=attrgetter("taken_at"))
        jobs = [
            RunningJob(job.job_id, moment(job.taken_at), None if job.details is None else moment(job.heartbeat_at))
            for job in oldest
        ]
        return WorkerReport(self._slots, len(running), jobs, datetime.now(UTC), recent=self._recent())

    def _recent(self) -> RecentRuns | None:
        """Compare the series with those of a minute ago, or with the first that were read."""
        durations = [0] * (len(RUN_BOUNDS) + 1)
        for one in self._metrics.run_seconds.every():
            durations = [sum(pair) for pair in zip(durations, one.counts, strict=True)]
        last = _Reading(self._clock(), int(self._metrics.claim_size.total), durations)
        self._readings.append(last)
        while last.at - self._readings[0].at > _WINDOW_SECONDS and len(self._readings) > 2:
            self._readings.popleft()
        first = self._readings[0]
        if last.at <= first.at:
            return None
        ended = [now - before for now, before in zip(last.durations, first.durations, strict=True)]
        return RecentRuns(round(last.at - first.at, 3), last.claimed - first.claimed, ended)
