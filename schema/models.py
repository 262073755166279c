"""The tables, as SQLAlchemy models. Atlas plans migrations from them (see `atlas/atlas.hcl`).

atlas-provider-sqlalchemy runs every module of this folder outside `sys.modules`, where annotations kept as strings
can't be resolved: no `from __future__ import annotations` in this folder.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Integer, LargeBinary, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from schema.queues import BASE_TABLE

TZ = TIMESTAMP(timezone=True)


class Base(DeclarativeBase):
    """Holds the metadata of every table of the engine."""


class QueuedJob(Base):
    """One unfinished job. The row is the truth about its job; the stream only says that the row exists.

    No column that a claim, a renewal or an inline completion changes is part of an index, so that
    these updates stay heap-only (PostgreSQL manual, 66.7 "Heap-Only Tuples").
    """

    __tablename__ = BASE_TABLE

    job_id: Mapped[str] = mapped_column(Text, primary_key=True)
    """Unique; deterministic from the workflow or given by the caller. The handler's idempotency key."""
    job_type: Mapped[str] = mapped_column(Text)
    """The delegated activity type."""
    input: Mapped[bytes | None] = mapped_column(LargeBinary)
    """`temporal.api.common.v1.Payloads`, already through the payload codec; NULL: no arguments."""
    header: Mapped[bytes | None] = mapped_column(LargeBinary)
    """`temporal.api.common.v1.Header` of the call; NULL: none."""
    options: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What the call asks of its execution (timeouts in ms, retry policy); NULL: the defaults."""
    namespace: Mapped[str | None] = mapped_column(Text)
    """Temporal namespace that waits for the outcome; NULL: nobody does (a plain job)."""
    workflow_id: Mapped[str | None] = mapped_column(Text)
    """Workflow that waits for the outcome by signal."""
    run_id: Mapped[UUID | None] = mapped_column(Uuid)
    """Run of that workflow that enqueued the job."""
    task_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Set when a Temporal activity task waits for the outcome: its task token."""
    enqueued_at: Mapped[datetime] = mapped_column(TZ, server_default=func.now())
    """When the job was first enqueued."""
    emitted_at: Mapped[datetime] = mapped_column(TZ, server_default=func.now())
    """When this row was last inserted, and so streamed."""
    deadline: Mapped[datetime | None] = mapped_column(TZ)
    """When the job times out unless it is finished (schedule-to-close) or, before its first claim, started."""
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """How many times the job was claimed to be run; the number of the current attempt while it runs."""
    lease_id: Mapped[int | None] = mapped_column(BigInteger)
    """The lease (`custom_task_lease`) under which a worker holds the job; NULL: nobody does."""
    lease_token: Mapped[int] = mapped_column(BigInteger, server_default=text("((pg_current_xact_id())::text)::bigint"))
    """Fence: grows with every claim and every re-emission; every finalising statement matches it.

    It is the id of the transaction that last changed it, so that a streamed row tells which one inserted it.
    """
    retry_at: Mapped[datetime | None] = mapped_column(TZ)
    """Set while the job waits for its next attempt: when that is due."""
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    """The workflow asked a running job to stop."""
    waiter_id: Mapped[int | None] = mapped_column(BigInteger)
    """Lease of the delegator whose local activity waits for the outcome inline; NULL: signal it."""
    outcome: Mapped[str | None] = mapped_column(Text)
    """`completed`, `failed` or `canceled` once the job is settled; NULL: unfinished."""
    result: Mapped[bytes | None] = mapped_column(LargeBinary)
    """`Payloads`: the result, or the failure as a payload of its own; through the codec."""
    settled_at: Mapped[datetime | None] = mapped_column(TZ)
    """When the outcome was stored."""
    last_failure: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The failure of the last attempt, in the form of `result`, while the job is retried."""
    heartbeat_details: Mapped[bytes | None] = mapped_column(LargeBinary)
    """`Payloads` of the last heartbeat, for the next attempt."""

    __table_args__ = (
        CheckConstraint("outcome IN ('completed', 'failed', 'canceled')", name="custom_task_queue_outcome"),
        Index("custom_task_queue_emitted_at", "emitted_at"),
        Index("custom_task_queue_retry_at", "retry_at", postgresql_where=text("retry_at IS NOT NULL")),
        Index("custom_task_queue_deadline", "deadline", postgresql_where=text("deadline IS NOT NULL")),
    )


class Lease(Base):
    """A process's lease: every job that names it is held for as long as the lease lives.

    Renewing it renews all of them, in one row, whatever their number.
    """

    __tablename__ = "custom_task_lease"

    lease_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    """Never used twice."""
    kind: Mapped[str] = mapped_column(Text)
    """`worker` (holds running jobs) or `delegator` (waits inline for outcomes)."""
    holder: Mapped[str] = mapped_column(Text)
    """The process, for people: `<pid>@<host>`."""
    queue: Mapped[str | None] = mapped_column(Text)
    """The queue a worker serves; NULL for a delegator."""
    granted_at: Mapped[datetime] = mapped_column(TZ, server_default=func.now())
    """When the lease was granted."""
    expires_at: Mapped[datetime] = mapped_column(TZ)
    """By the database's clock; from then on others may take what the lease holds."""
    delivered_until: Mapped[datetime | None] = mapped_column(TZ)
    """Every row emitted before this was offered to this worker's stream: one still unclaimed was lost."""

    __table_args__ = (CheckConstraint("kind IN ('worker', 'delegator')", name="custom_task_lease_kind"),)


class DeadLetter(Base):
    """A job that the queue gave up on, kept for people to look at and to replay."""

    __tablename__ = "custom_task_dead_letter"

    dead_letter_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    """Orders dead letters by arrival."""
    queue: Mapped[str] = mapped_column(Text)
    """The queue it came from, and is replayed to."""
    reason: Mapped[str] = mapped_column(Text)
    """`unknown_type`, `undecodable`, `attempts_exhausted`, or of a plain job, whose outcome nobody else hears of,
    `non_retryable` or `timed_out`."""
    error: Mapped[str] = mapped_column(Text)
    """The error's type, without its message, which may hold what a codec hides."""
    failure: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The whole failure, in the form of the queue's `result`."""
    job_id: Mapped[str] = mapped_column(Text)
    """As in the queue, like the columns below."""
    job_type: Mapped[str] = mapped_column(Text)
    input: Mapped[bytes | None] = mapped_column(LargeBinary)
    header: Mapped[bytes | None] = mapped_column(LargeBinary)
    options: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    namespace: Mapped[str | None] = mapped_column(Text)
    workflow_id: Mapped[str | None] = mapped_column(Text)
    run_id: Mapped[UUID | None] = mapped_column(Uuid)
    attempt: Mapped[int] = mapped_column(Integer)
    enqueued_at: Mapped[datetime] = mapped_column(TZ)
    died_at: Mapped[datetime] = mapped_column(TZ, server_default=func.now())
    """When it was given up."""

    __table_args__ = (
        Index("custom_task_dead_letter_job_id", "job_id"),
        Index("custom_task_dead_letter_died_at", "died_at"),
    )
