"""The worker's series."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from delegator.postgres.dead_letters import Reason
from delegator.runtime.series import Counts, DurationHistogram, SizeHistogram
from http_workers.job import Job

_REASONS: Final = (
    Reason.UNKNOWN_TYPE,
    Reason.UNDECODABLE,
    Reason.UNREADABLE,
    Reason.ATTEMPTS_EXHAUSTED,
    Reason.NON_RETRYABLE,
    Reason.TIMED_OUT,
)
"""Why a worker gives jobs up."""


class WorkerMetrics:
    """The series of one worker process; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.received = Counter(
            "delegator_worker_messages_received_total", "Messages taken from the stream", registry=registry
        )
        self.dropped = Counter(
            "delegator_worker_messages_dropped_total",
            "Messages whose row was gone, completed or held by another worker",
            registry=registry,
        )
        self.last_poll = Gauge(
            "delegator_worker_last_poll_timestamp_seconds",
            "Unix time of the last answer of the stream to a request for messages, also of one without messages",
            registry=registry,
        )
        self.claim_size = SizeHistogram(
            "delegator_worker_claim_batch_jobs", "Jobs that one claim has got", [], registry
        ).labels()
        self.finish_size = SizeHistogram(
            "delegator_worker_finish_batch_jobs", "Attempts that were finished together", [], registry
        ).labels()
        self.running = Gauge("delegator_worker_jobs_running", "Jobs whose handler runs now", registry=registry)
        self.slots = Gauge("delegator_worker_slots", "Jobs that may run at once", registry=registry)
        self.finished = Counts(
            "delegator_worker_attempts", "Attempts that ended, by how", ["job_type", "result"], registry
        )
        self.snooze = Counter(
            "delegator_worker_jobs_snoozed_total",
            "Jobs given back for a while, because of their type's limits or (no job_type) a row too new to be read",
            ["job_type"],
            registry=registry,
        )
        self.refused = Counter(
            "delegator_worker_jobs_refused_total",
            "Jobs that could not begin here: no handler for their type (unknown_type; served_elsewhere if another live "
            "worker has one; both without job_type), arguments that can't be decoded (undecodable), a payload codec or "
            "a key that is missing here (locked)",
            ["job_type", "reason"],
            registry=registry,
        )
        self.run_seconds = DurationHistogram(
            "delegator_worker_run_seconds", "How long handlers ran", ["job_type"], registry
        )
        self.start_delay = DurationHistogram(
            "delegator_worker_start_delay_seconds",
            "From the row's insert to its claim, by the database's clock",
            [],
            registry,
        ).labels()
        self.job_seconds = DurationHistogram(
            "delegator_worker_job_seconds",
            "From the job's first enqueue until its outcome was stored or delivered, with all attempts and the waits "
            "between them",
            [],
            registry,
        ).labels()
        self.retries = Counter(
            "delegator_worker_retries_total",
            "Attempts that failed and are followed by another one",
            registry=registry,
        )
        self.leases_lost = Counter(
            "delegator_worker_leases_lost_total",
            "How often this process's lease had expired, so that other workers may have taken its jobs",
            registry=registry,
        )
        self.orphaned = Counter(
            "delegator_worker_outcomes_orphaned_total",
            "Outcomes of jobs whose workflow had closed",
            registry=registry,
        )
        self.fenced = Counter(
            "delegator_worker_outcomes_fenced_total",
            "Outcomes of attempts that had lost their lease",
            registry=registry,
        )
        self.dead_letters = Counter(
            "delegator_worker_dead_letters_total", "Jobs given up, by reason", ["reason"], registry=registry
        )
        # Prometheus sees an increase only of a series that was there before.
        for reason in _REASONS:
            self.dead_letters.labels(reason.value)
        self.refused.labels("", Reason.UNKNOWN_TYPE.value)
        self.snooze.labels("")

    def batch_finished(self, attempts: int, jobs: Iterable[Job]) -> None:
        """Measure a batch.

        Args:
            attempts: its size.
            jobs: those that no other attempt follows. Their whole time is measured.
        """
        self.finish_size.observe(attempts)
        monotonic, now = time.monotonic(), time.time()
        for job in jobs:
            self.job_seconds.observe(job.age_seconds(monotonic, now))
