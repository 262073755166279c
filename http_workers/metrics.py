"""The worker's series."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


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
            "Messages whose row was gone, settled or held by another worker",
            registry=registry,
        )
        self.running = Gauge("delegator_worker_jobs_running", "Jobs whose handler runs now", registry=registry)
        self.slots = Gauge("delegator_worker_slots", "Jobs that may run at once", registry=registry)
        self.finished = Counter(
            "delegator_worker_attempts_total", "Attempts that ended, by how", ["job_type", "result"], registry=registry
        )
        self.put_off = Counter(
            "delegator_worker_jobs_put_off_total",
            "Jobs that were given back for a while because of their type's limits",
            ["job_type"],
            registry=registry,
        )
        self.run_seconds = Histogram(
            "delegator_worker_run_seconds", "How long handlers ran", ["job_type"], buckets=_SECONDS, registry=registry
        )
        self.start_delay = Histogram(
            "delegator_worker_start_delay_seconds",
            "From the row's insert to its claim, by the database's clock",
            buckets=_SECONDS,
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
