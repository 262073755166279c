"""The columns of every table, by name, for processes that read and write rows and plan no migrations.

The models say the same and more, but SQLAlchemy would cost each of these processes a quarter of its start. A test holds
both equal.
"""

from types import MappingProxyType

from schema.queues import BASE_TABLE

COLUMNS = MappingProxyType(
    {
        BASE_TABLE: (
            "job_id",
            "job_type",
            "input",
            "header",
            "options",
            "namespace",
            "workflow_id",
            "run_id",
            "task_token",
            "enqueued_at",
            "emitted_at",
            "deadline",
            "attempt",
            "lease_id",
            "lease_token",
            "retry_at",
            "cancel_requested",
            "waiter_id",
            "outcome",
            "result",
            "settled_at",
            "last_failure",
            "heartbeat_details",
        ),
        "custom_task_lease": (
            "lease_id",
            "kind",
            "holder",
            "queue",
            "granted_at",
            "expires_at",
            "delivered_until",
        ),
        "custom_task_dead_letter": (
            "dead_letter_id",
            "queue",
            "reason",
            "error",
            "failure",
            "job_id",
            "job_type",
            "input",
            "header",
            "options",
            "namespace",
            "workflow_id",
            "run_id",
            "attempt",
            "enqueued_at",
            "died_at",
        ),
    }
)
"""By table, in the order of the models. Every queue's table has the columns of `BASE_TABLE`."""
