"""The tables as SQLAlchemy tables. Atlas plans migrations from them (see `atlas/atlas.hcl`).

`columns.py` declares their columns. This module adds keys, indexes and constraints.

Never write `from __future__ import annotations` in this folder: atlas-provider-sqlalchemy runs its modules outside
`sys.modules`, where annotations that are strings can't be resolved.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from delegator_schema.columns import (
    DEAD_LETTER_TABLE,
    LEASE_TABLE,
    OUTBOX_TABLE,
    PAUSE_TABLE,
    RATE_TABLE,
    TABLES,
    UNIQUE_TABLE,
    Column,
)
from delegator_schema.queues import BASE_TABLE

_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "bigint": sa.BigInteger(),
    "boolean": sa.Boolean(),
    "bytea": sa.LargeBinary(),
    "integer": sa.Integer(),
    "jsonb": JSONB(),
    "smallint": sa.SmallInteger(),
    "text": sa.Text(),
    "text[]": ARRAY(sa.Text()),
    "timestamp with time zone": TIMESTAMP(timezone=True),
    "uuid": sa.Uuid(),
}

metadata = sa.MetaData()
"""The metadata of all tables of the engine."""


def _column(declared: Column, *, is_key: bool) -> sa.Column[Any]:
    parts = [sa.Identity(always=True)] if declared.is_identity else []
    return sa.Column(
        declared.name,
        _TYPES[declared.type],
        *parts,
        primary_key=is_key,
        nullable=declared.nullable,
        server_default=None if declared.default is None else sa.text(declared.default),
    )


def _table(name: str, *constraints: sa.schema.SchemaItem) -> sa.Table:
    """Return a table whose first column is its primary key."""
    key, *others = TABLES[name]
    columns = [_column(key, is_key=True), *(_column(column, is_key=False) for column in others)]
    return sa.Table(name, metadata, *columns, *constraints)


# Claims, renewals and inline completions change no column of an index, so that these updates stay heap-only (PostgreSQL
# manual, "Heap-Only Tuples").
queued_job = _table(
    BASE_TABLE,
    sa.CheckConstraint("outcome IN ('completed', 'failed', 'canceled')", name="custom_task_queue_outcome"),
    sa.Index("custom_task_queue_published_at", "published_at"),
    sa.Index("custom_task_queue_retry_at", "retry_at", postgresql_where=sa.text("retry_at IS NOT NULL")),
    sa.Index("custom_task_queue_deadline", "deadline", postgresql_where=sa.text("deadline IS NOT NULL")),
    # Only the waiting rows of ordered queues, and only the running rows of types with fleet-wide limits, are in these.
    sa.Index(
        "custom_task_queue_lane", "priority", "lane", "published_at", postgresql_where=sa.text("lane IS NOT NULL")
    ),
    sa.Index("custom_task_queue_permit", "permit", postgresql_where=sa.text("permit IS NOT NULL")),
)
lease = _table(
    LEASE_TABLE, sa.CheckConstraint("role IN ('worker', 'enqueuer', 'maintenance')", name="custom_task_lease_role")
)
dead_letter = _table(
    DEAD_LETTER_TABLE,
    sa.Index("custom_task_dead_letter_job_id", "job_id"),
    sa.Index("custom_task_dead_letter_died_at", "died_at"),
)
rate = _table(RATE_TABLE)
pause = _table(PAUSE_TABLE)
outbox = _table(
    OUTBOX_TABLE,
    sa.CheckConstraint(
        "operation IN ('start', 'signal', 'signal_with_start', 'cancel')", name="custom_task_outbox_operation"
    ),
    sa.Index("custom_task_outbox_due_at", "due_at"),
    sa.Index("custom_task_outbox_workflow_id", "workflow_id", "seq"),
    sa.Index("custom_task_outbox_key", "key", unique=True),
)
unique = _table(UNIQUE_TABLE, sa.Index("custom_task_unique_expires_at", "expires_at"))
