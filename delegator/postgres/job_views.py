"""Reads jobs as operators see them: their state, who holds them, and what is known of their attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from delegator_schema.columns import LEASE_TABLE
from delegator_schema.options import (
    ATTEMPT,
    ATTEMPTS,
    DELAY_MS,
    ERROR,
    FAILED_MS,
    HOLDER,
    PAUSED,
    PAUSED_MS,
    PAUSED_SINCE_MS,
    REFUSED,
    REFUSED_REASON,
    START_DELAY_MS,
    STARTED_MS,
)

from delegator.postgres.connections import Connection
from delegator.postgres.lease_reports import RunningJob, WorkerReport
from delegator.postgres.queue_asynchronous import HOLDER as CLIENT
from delegator.postgres.queue_statements import QueueStatements
from delegator.postgres.selections import where

STATE: Final = f"""CASE
        WHEN q.outcome IS NOT NULL THEN CASE WHEN q.waiter_id IS NULL THEN 'delivering' ELSE 'stored' END
        WHEN lease.expires_at > now() THEN 'running'
        WHEN q.lease_id IS NULL AND q.retry_at IS NOT NULL AND q.attempt > 0
             AND NOT coalesce(q.options ? '{PAUSED}', false) THEN 'backing_off'
        ELSE 'waiting' END"""
"""The name of a job's state, over `q` and the lease that it names. See `delegator.operating.states.State`."""

LAST_ERROR: Final = f"q.options -> '{ATTEMPTS}' -> -1 ->> '{ERROR}'"
"""The type of the error of a job's last failed attempt; NULL: none has failed, or the row does not say."""

_JOIN: Final = f"{{table}} AS q LEFT JOIN {LEASE_TABLE} AS lease ON lease.lease_id = q.lease_id"

_SELECT: Final = f"""
SELECT q.job_id, q.job_type, {STATE} AS state, q.namespace, q.workflow_id, q.run_id, q.attempt, q.enqueued_at,
       q.published_at, q.deadline, q.retry_at, q.lease_id, q.cancel_requested, q.waiter_id IS NOT NULL,
       q.task_token IS NOT NULL, q.outcome, q.completed_at, q.lane IS NOT NULL, q.permit, q.options,
       coalesce(octet_length(q.input), 0), q.format_version, lease.holder, lease.expires_at, lease.renewed_at,
       lease.report, now()
FROM {_JOIN}
"""

_CONDITIONS: Final[Mapping[str, str]] = {
    "job_ids": "q.job_id = ANY(%(job_ids)s::text[])",
    "job_type": "q.job_type = %(job_type)s",
    "workflow_id": "q.workflow_id = %(workflow_id)s",
    "error": f"{LAST_ERROR} = %(error)s",
    "since": "q.enqueued_at >= {ago} %(since)s",
    "until": "q.enqueued_at < {ago} %(until)s",
    "states": f"{STATE} = ANY(%(states)s::text[])",
    # The index on `published_at` finds the place. Few rows have the same time.
    "after": "q.published_at >= %(after_published_at)s"
    " AND (q.published_at, q.job_id) > (%(after_published_at)s, %(after_job_id)s::text)",
    "up_to": "q.published_at <= %(up_to_published_at)s"
    " AND (q.published_at, q.job_id) <= (%(up_to_published_at)s, %(up_to_job_id)s::text)",
}
_ORDER: Final = "ORDER BY q.published_at, q.job_id"

AGES: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 6 * 3_600, 86_400, 7 * 86_400)
"""Bounds, in seconds, of the classes of age in which `JobViews.counts` counts."""
_AGES: Final = f"ARRAY[{', '.join(map(str, AGES))}]::float8[]"

# A long queue is not counted to its end. Classes of age give percentiles without a sort.
_COUNTS: Final = f"""
SELECT state, job_type, paused, last_error, width_bucket(date_part('epoch', now() - since), {_AGES}), count(*),
       min(enqueued_at), max(attempt)
FROM (
    SELECT {STATE} AS state, q.job_type, coalesce(q.options ? '{PAUSED}', false) AS paused, q.enqueued_at,
           {LAST_ERROR} AS last_error, coalesce(q.completed_at, q.published_at) AS since, q.attempt
    FROM {_JOIN} LIMIT %(most)s
) AS seen
GROUP BY 1, 2, 3, 4, 5
"""

_NTH: Final = f"""
SELECT q.published_at, q.job_id FROM {{table}} AS q {{where}} {_ORDER} OFFSET %(most)s - 1 LIMIT 1
"""

_CONTENT: Final = "SELECT q.input, q.header, q.last_failure, q.options FROM {table} AS q WHERE q.job_id = %(job_id)s"


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that has failed, as the row keeps it."""

    attempt: int
    """Its number."""
    failed_at: datetime
    """When it failed."""
    error: str
    """The error's type."""
    delay: timedelta
    """How long the next attempt was put off."""
    started_at: datetime | None
    """When it began; None: not known."""
    holder: str | None
    """The process that ran it; None: not known."""

    @property
    def retry_at(self) -> datetime:
        """When the next attempt was due."""
        return self.failed_at + self.delay


class JobRow(NamedTuple):
    """A job as its row and its lease show it. It holds nothing that a payload codec hides."""

    queue: str
    job_id: str
    job_type: str
    state: str
    namespace: str | None
    workflow_id: str | None
    run_id: UUID | None
    attempt: int
    enqueued_at: datetime
    published_at: datetime
    deadline: datetime | None
    retry_at: datetime | None
    lease_id: int | None
    cancel_requested: bool
    has_waiter: bool
    """An enqueuer waits for the outcome inline, or has read it."""
    is_activity_task: bool
    """A Temporal activity task waits for the outcome."""
    outcome: str | None
    completed_at: datetime | None
    waits_in_lane: bool
    permit: str | None
    options: dict[str, Any] | None
    input_bytes: int
    format_version: int
    holder: str | None
    """The process that holds the job, or has held it; None: none does, or its lease is gone."""
    lease_expires_at: datetime | None
    lease_renewed_at: datetime | None
    report: dict[str, Any] | None
    """What the holder said of itself when it renewed its lease."""
    now: datetime
    """The database's clock."""

    @property
    def attempts(self) -> list[FailedAttempt]:
        """The last attempts that have failed, the oldest first."""
        kept = (self.options or {}).get(ATTEMPTS)
        found = [_attempt(one) for one in kept] if isinstance(kept, list) else []
        return [one for one in found if one is not None]

    @property
    def paused_since(self) -> datetime | None:
        """When the job was paused; None: it is not."""
        paused = (self.options or {}).get(PAUSED)
        return _moment(paused.get(PAUSED_SINCE_MS)) if isinstance(paused, dict) else None

    @property
    def paused_for(self) -> timedelta:
        """How long the job was paused before."""
        return timedelta(milliseconds=_number((self.options or {}).get(PAUSED_MS)) or 0)

    @property
    def refused(self) -> str | None:
        """Why a worker could not begin the job, a `delegator.postgres.dead_letters.Reason`; None: none was there."""
        refused = (self.options or {}).get(REFUSED)
        return str(refused.get(REFUSED_REASON)) if isinstance(refused, dict) else None

    @property
    def has_start_delay(self) -> bool:
        """Whether the job waits for the end of its start delay."""
        delay = timedelta(milliseconds=_number((self.options or {}).get(START_DELAY_MS)) or 0)
        return bool(delay) and self.now < self.enqueued_at + delay + self.paused_for

    @property
    def is_left_open(self) -> bool:
        """Whether a client completes the attempt."""
        return self.holder == CLIENT

    @property
    def seen_running(self) -> RunningJob | None:
        """What the worker says of the running job; None: nothing, as of one that has just begun."""
        return None if self.report is None else WorkerReport.read(self.report).job(self.job_id)

    @property
    def running_since(self) -> datetime | None:
        """When the attempt began; of one that has just begun, when its worker last reported. None: not known."""
        if self.report is None:
            return None
        seen = self.seen_running
        return WorkerReport.read(self.report).at if seen is None else seen.started_at


class JobCount(NamedTuple):
    """How many jobs of a type are in a state."""

    state: str
    job_type: str
    paused: bool
    last_error: str | None
    """The type of the error of their last failed attempts; None: none has failed."""
    age_class: int
    """How many of `AGES` they have reached since they were published or, if they have ended, completed."""
    jobs: int
    oldest: datetime
    """When the first of them was enqueued."""
    most_attempts: int


class Place(NamedTuple):
    """A place in the order of a queue's jobs."""

    published_at: datetime
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSelection:
    """Which jobs to take. A value of None selects all."""

    job_ids: Sequence[str] | None = None
    """Only these jobs."""
    job_type: str | None = None
    """Only those of this delegated activity type."""
    workflow_id: str | None = None
    """Only those of this workflow."""
    error: str | None = None
    """Only those whose last attempt failed with an error of this type."""
    since: datetime | timedelta | None = None
    """Only those enqueued at this time or later. A timedelta is the time before now, by the database's clock."""
    until: datetime | timedelta | None = None
    """Only those enqueued before this time. A timedelta as for `since`."""
    states: Sequence[str] | None = None
    """Only those in one of these states."""
    limit: int | None = None
    """Largest number of jobs."""
    after: Place | None = None
    """Only those behind this place."""
    up_to: Place | None = None
    """Only those up to this place."""


class Content(NamedTuple):
    """The payloads of a job, as the queue has them."""

    input: bytes | None
    header: bytes | None
    last_failure: bytes | None
    options: dict[str, Any] | None


class JobViews(QueueStatements):
    """Reads the jobs of one queue."""

    async def find(self, connection: Connection, selection: JobSelection) -> list[JobRow]:
        """Return the selected jobs, in the order in which they were published.

        That is the order of their enqueueing, but that a job comes later if the stream had to bring it again. An
        index has this order, so that a limit bounds what is read.
        """
        condition, parameters = where(selection, _CONDITIONS)
        parameters["limit"] = selection.limit
        statement = f"{_SELECT.format(table=self.name)} {condition} {_ORDER} LIMIT %(limit)s"
        cursor = await connection.execute(statement.encode(), parameters)
        return [JobRow(self.queue, *row) for row in await cursor.fetchall()]

    async def nth(self, connection: Connection, most: int, after: Place | None) -> Place | None:
        """Return the place of the job that comes so many jobs behind a place; None: there are less.

        Args:
            connection: where to.
            most: how many jobs.
            after: the place; None: the beginning.
        """
        condition, parameters = where(JobSelection(after=after), _CONDITIONS)
        statement = _NTH.format(table=self.name, where=condition)
        row = await (await connection.execute(statement.encode(), {**parameters, "most": most})).fetchone()
        return None if row is None else Place(*row)

    async def content(self, connection: Connection, job_id: str) -> Content | None:
        """Return the payloads of a job; None: it is gone. The failure is that of its last failed attempt."""
        row = await (await connection.execute(self.statement(_CONTENT), {"job_id": job_id})).fetchone()
        return None if row is None else Content(*row)

    async def counts(self, connection: Connection, most: int) -> list[JobCount]:
        """Return the number of jobs by state and type.

        Args:
            connection: where to.
            most: how many rows to look at.
        """
        cursor = await connection.execute(self.statement(_COUNTS), {"most": most})
        return [JobCount(*row) for row in await cursor.fetchall()]


def _attempt(kept: Any) -> FailedAttempt | None:
    """Read an attempt. A program of another kind may have written anything there."""
    failed_at = _moment(kept.get(FAILED_MS)) if isinstance(kept, dict) else None
    if failed_at is None:
        return None
    return FailedAttempt(
        attempt=int(_number(kept.get(ATTEMPT)) or 0),
        failed_at=failed_at,
        error=str(kept.get(ERROR)),
        delay=timedelta(milliseconds=_number(kept.get(DELAY_MS)) or 0),
        started_at=_moment(kept.get(STARTED_MS)),
        holder=None if kept.get(HOLDER) is None else str(kept[HOLDER]),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None


def _moment(value: Any) -> datetime | None:
    number = _number(value)
    try:
        return None if number is None else datetime.fromtimestamp(number / 1000, UTC)
    except (OverflowError, ValueError):
        return None
