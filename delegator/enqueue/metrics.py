"""The series of an enqueuer: the plugin's side, and the activity worker of `delegator serve`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from delegator.postgres.error_classes import ErrorClass
from delegator.runtime.series import Counts, DurationHistogram, SizeHistogram


class EnqueueMetrics:
    """The series of one process that enqueues; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.seconds = DurationHistogram(
            "delegator_enqueue_seconds",
            "How long a request to enqueue waited until its jobs were committed",
            ["queue"],
            registry,
        )
        self.jobs = Counts("delegator_enqueue_jobs", "Jobs that were new to the queue", ["queue"], registry)
        self.known = Counts(
            "delegator_enqueue_known_jobs", "Jobs that the queue had already, from an earlier try", ["queue"], registry
        )
        self.batch = SizeHistogram("delegator_enqueue_batch_jobs", "Jobs that one INSERT wrote", ["queue"], registry)
        self.outcomes = Counts(
            "delegator_enqueue_outcomes",
            "Jobs of workflows by how their outcome comes: inline, as the result of the local activity that enqueued "
            "them; or by signal, because they did not end in time or were not waited for",
            ["way"],
            registry,
        )
        self.inline_wait = DurationHistogram(
            "delegator_enqueue_inline_wait_seconds", "How long local activities waited for outcomes", [], registry
        ).labels()
        self.waiting = Gauge(
            "delegator_enqueue_inline_waits", "Local activities that wait for outcomes now", registry=registry
        )
        self.failures = Counter(
            "delegator_enqueue_failures_total",
            "Attempts to write a batch that failed: PostgreSQL did not answer (unavailable), refused it (refused), or "
            "refused a job's values (data)",
            ["reason"],
            registry=registry,
        )
        # Prometheus sees an increase only of a series that was there before.
        for way in ("inline", "signal"):
            self.outcomes.labels(way)
        for reason in ErrorClass:
            self.failures.labels(reason.value)
        self.leases_lost = Counter(
            "delegator_enqueue_leases_lost_total",
            "How often this process's lease had expired while it ran",
            registry=registry,
        )

    def lease_lost(self, lease_id: int) -> None:
        """Count a lease that had expired."""
        self.leases_lost.inc()
