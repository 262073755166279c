"""The metrics of the sweeper and of the queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

REPUBLISH_REASONS: Final = ("lease_expired", "retry_due", "undelivered", "unknown_lease")
"""Why jobs are inserted again."""


class MaintenanceMetrics:
    """The series of one maintenance process; make one per registry."""

    def __init__(self, registry: CollectorRegistry, queues: Sequence[str] = ()) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
            queues: the declared queues. Their counters begin with 0, so that Prometheus sees the first increase.
        """
        self.leader = Gauge("delegator_maintenance_leader", "1 while this process sweeps", registry=registry)
        self.last_sweep = Gauge(
            "delegator_maintenance_last_sweep_timestamp_seconds",
            "Unix time of the last full sweep that reached its end; 0: this process has made none",
            registry=registry,
        )
        self.republished = Counter(
            "delegator_maintenance_republished_total",
            "Jobs inserted again, so that the stream delivers them again",
            ["queue", "reason"],
            registry=registry,
        )
        self.lost_attempts = Counter(
            "delegator_maintenance_lost_attempts_total",
            "Attempts that failed because their worker's lease expired: it died, or lost its database",
            ["queue"],
            registry=registry,
        )
        self.timed_out = Counter(
            "delegator_maintenance_timed_out_total", "Jobs past their deadline", ["queue"], registry=registry
        )
        self.delivered = Counter(
            "delegator_maintenance_outcomes_signalled_total", "Stored outcomes that were signalled", registry=registry
        )
        self.orphaned = Counter(
            "delegator_maintenance_outcomes_orphaned_total", "Outcomes whose workflow had closed", registry=registry
        )
        self.unread = Counter(
            "delegator_maintenance_outcomes_unread_total",
            "Rows with an outcome that were deleted because their enqueuer never read it",
            registry=registry,
        )
        self.snoozed = Counter(
            "delegator_maintenance_snoozed_total",
            "Jobs snoozed because they could not be timed out or signalled, for example because the codec failed",
            ["queue"],
            registry=registry,
        )
        self.ended = Counter(
            "delegator_maintenance_closed_run_jobs_total",
            "Jobs of closed workflow runs that were removed from the queue or, if they ran, told to stop",
            ["queue", "action"],
            registry=registry,
        )
        self.depth = Gauge(
            "delegator_queue_jobs",
            "Jobs by state: waiting, running, backing_off, paused, delivering (the outcome waits for its signal), "
            "stored (it was taken inline, or will be). Counted at each full sweep, every 15 s unless set; beyond "
            "100,000 jobs it is an estimate",
            ["queue", "state"],
            registry=registry,
        )
        self.oldest = Gauge(
            "delegator_queue_oldest_job_age_seconds", "Age of the oldest unfinished job", ["queue"], registry=registry
        )
        self.dead_letters = Gauge(
            "delegator_queue_dead_letters",
            "Dead letters that are kept; no more than 100,000 are counted",
            ["queue"],
            registry=registry,
        )
        for queue in queues:
            for counter in (self.lost_attempts, self.timed_out, self.snoozed):
                counter.labels(queue)
            for reason in REPUBLISH_REASONS:
                self.republished.labels(queue, reason)
        self.slot_active = Gauge(
            "delegator_slot_active",
            "1 while the relay or Sequin reads the queue's replication slot; 0 also if there is no slot",
            ["queue"],
            registry=registry,
        )
        self.slot_missing = Gauge(
            "delegator_slot_missing",
            "1 if the queue's replication slot does not exist, so that nothing streams the queue's jobs; else 0",
            ["queue"],
            registry=registry,
        )
        self.slot_lag = Gauge(
            "delegator_slot_lag_bytes",
            "WAL written by the server beyond what the reader of the queue's slot has confirmed",
            ["queue"],
            registry=registry,
        )
        self.slot_retained = Gauge(
            "delegator_slot_retained_bytes",
            "WAL that the server keeps for the queue's slot",
            ["queue"],
            registry=registry,
        )


class OutboxMetrics:
    """The series of the outbox's dispatcher; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.waiting = Gauge(
            "delegator_outbox_waiting",
            "Operations on workflows that were committed and that Temporal does not have yet; only of the leader",
            registry=registry,
        )
        self.oldest = Gauge(
            "delegator_outbox_oldest_seconds",
            "Age of the oldest operation that waits; only of the leader",
            registry=registry,
        )
        self.sent = Counter(
            "delegator_outbox_sent_total", "Operations that Temporal carried out", ["operation"], registry=registry
        )
        self.retried = Counter(
            "delegator_outbox_retried_total",
            "Attempts that Temporal refused and that are repeated, by its status",
            ["operation", "status"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "delegator_outbox_dead_letters_total",
            "Operations that became dead letters",
            ["operation", "reason"],
            registry=registry,
        )
