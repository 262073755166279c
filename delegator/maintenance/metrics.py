"""The metrics of the sweeper and of the queues."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class MaintenanceMetrics:
    """The series of one maintenance process; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.leader = Gauge("delegator_maintenance_leader", "1 while this process sweeps", registry=registry)
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
        self.depth = Gauge("delegator_queue_jobs", "Unfinished jobs, by state", ["queue", "state"], registry=registry)
        self.oldest = Gauge(
            "delegator_queue_oldest_job_age_seconds", "Age of the oldest unfinished job", ["queue"], registry=registry
        )
        self.dead_letters = Gauge(
            "delegator_queue_dead_letters", "Dead letters that are kept", ["queue"], registry=registry
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
