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
}

# A long queue is not counted to its end. The planner's estimate says how long it is.
_COUNTS: Final = f"""
SELECT state, job_type, paused, count(*), min(enqueued_at), max(last_error)
FROM (
    SELECT {STATE} AS state, q.job_type, coalesce(q.options ? '{PAUSED}', false) AS paused, q.enqueued_at,
           {LAST_ERROR} AS last_error
    FROM {_JOIN} LIMIT %(most)s
) AS seen
GROUP BY state, job_type, paused
"""


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
    jobs: int
    oldest: datetime
    last_error: str | None
    """The error of one of these jobs."""


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


class JobViews(QueueStatements):
    """Reads the jobs of one queue."""

    async def find(self, connection: Connection, selection: JobSelection) -> list[JobRow]:
        """Return the selected jobs, those first that were enqueued first."""
        given = {name: getattr(selection, name) for name in _CONDITIONS}
        parameters = {name: value for name, value in given.items() if value is not None}
        conditions = [
            _CONDITIONS[name].format(ago="now() -" if isinstance(value, timedelta) else "")
            for name, value in parameters.items()
        ]
        parameters = {name: _as_list(value) for name, value in parameters.items()}
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        parameters["limit"] = selection.limit
        statement = f"{_SELECT.format(table=self.name)} {where} ORDER BY q.enqueued_at, q.job_id LIMIT %(limit)s"
        cursor = await connection.execute(statement.encode(), parameters)
        return [JobRow(self.queue, *row) for row in await cursor.fetchall()]

    async def counts(self, connection: Connection, most: int) -> list[JobCount]:
        """Return the number of jobs by state and type.

        Args:
            connection: where to.
            most: how many rows to look at.
        """
        cursor = await connection.execute(self.statement(_COUNTS), {"most": most})
        return [JobCount(*row) for row in await cursor.fetchall()]


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value


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
