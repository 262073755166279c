"""The statements of `custom_task_dead_letter`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from delegator_schema.columns import DEAD_LETTER_TABLE, FORMAT_VERSION, OUTBOX_TABLE, moved_columns
from delegator_schema.options import (
    ATTEMPTS,
    PAUSED_MS,
    REFUSED,
    SCHEDULE_TO_CLOSE_MS,
    SCHEDULE_TO_START_MS,
    START_DELAY_MS,
)
from delegator_schema.outbox import OUTBOX_CHANNEL
from delegator_schema.queues import BASE_TABLE

from delegator.postgres.connections import Connection
from delegator.postgres.notifying import Notifying
from delegator.postgres.queue_table import QueueTable
from delegator.postgres.selections import where

JOB: Final = "job"
"""The kind of a dead letter that was a job. That of another one is its operation."""

_MOVED: Final = ", ".join(moved_columns(BASE_TABLE, DEAD_LETTER_TABLE))

_STORE = f"""
WITH dead AS MATERIALIZED (
    SELECT * FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[],
                         %(reason)b::text[], %(error)b::text[])
             AS dead (job_id, fencing_token, outcome, result, reason, error)
), stored AS (
    UPDATE {{table}} AS q
    SET outcome = dead.outcome, result = dead.result, {{store_outcome}}
    FROM dead
    WHERE q.job_id = dead.job_id AND q.fencing_token = dead.fencing_token AND q.outcome IS NULL
    RETURNING q.*, dead.reason, dead.error
), moved AS (
    INSERT INTO {DEAD_LETTER_TABLE} (queue, reason, error, failure, {_MOVED})
    SELECT %(queue)s, reason, error, result, {_MOVED} FROM stored
), notified AS (
    SELECT pg_notify('{{channel}}' || waiter_id, string_agg(job_id, chr(10)))
    FROM (SELECT waiter_id, job_id,
                 sum(octet_length(job_id) + 1) OVER (PARTITION BY waiter_id ORDER BY job_id) / 7000 AS part
          FROM stored WHERE waiter_id IS NOT NULL) AS parts
    GROUP BY waiter_id, part
)
SELECT job_id, waiter_id IS NOT NULL FROM stored
UNION ALL
SELECT NULL, true WHERE (SELECT count(*) FROM notified) < 0  -- never a row; a CTE runs only if a query reads it
"""

_SUMMARY = """dead_letter_id, queue, job_type, reason, error, job_id, namespace, workflow_id, run_id, attempt,
       enqueued_at, died_at, format_version, operation"""
_SELECT = f"SELECT {_SUMMARY} FROM custom_task_dead_letter"
CONDITIONS: Final = {
    "ids": "dead_letter_id = ANY(%(ids)s::int8[])",
    "queue": "queue = %(queue)s",
    "kind": f"coalesce(operation, '{JOB}') = %(kind)s",
    "job_type": "job_type = %(job_type)s",
    "reason": "reason = %(reason)s",
    "workflow_id": "workflow_id = %(workflow_id)s",
    "job_id": "job_id = %(job_id)s",
    "error": "error = %(error)s",
    "since": "died_at >= {ago} %(since)s",
    "until": "died_at < {ago} %(until)s",
    "before": "died_at <= %(before_died_at)s AND (died_at, dead_letter_id) < (%(before_died_at)s, %(before_id)s)",
    "down_to": "died_at >= %(down_to_died_at)s AND (died_at, dead_letter_id) >= (%(down_to_died_at)s, %(down_to_id)s)",
}
"""What the filters of a `Selection` mean."""
_CONTENT = b"""
SELECT failure, input, header, options FROM custom_task_dead_letter WHERE dead_letter_id = %s
"""

# A replayed job starts again: its attempts, the time of its first enqueueing and its start delay are dropped.
_REPLAYED: Final = [
    name for name in moved_columns(DEAD_LETTER_TABLE, BASE_TABLE) if name not in ("attempt", "enqueued_at")
]
_CHANGED: Final = {
    "options": " - ".join(["options", *(f"'{key}'" for key in (REFUSED, START_DELAY_MS, ATTEMPTS, PAUSED_MS))]),
    **{name: f"CASE WHEN %(signal)s THEN {name} END" for name in ("namespace", "workflow_id", "run_id")},
}
_REPLAYED_VALUES: Final = ", ".join(_CHANGED.get(name, name) for name in _REPLAYED)

# Rows are locked first. So if two replays run at once, the second one finds nothing. If one job has several dead
# letters, only the newest is inserted, because the queue holds each job once.
_REPLAY = f"""
WITH locked AS MATERIALIZED (
    SELECT * FROM {DEAD_LETTER_TABLE}
    WHERE dead_letter_id = ANY(%(ids)b::int8[]) AND queue = %(queue)s
    ORDER BY dead_letter_id FOR UPDATE
), newest AS (
    SELECT DISTINCT ON (job_id) * FROM locked ORDER BY job_id, dead_letter_id DESC
), inserted AS (
    INSERT INTO {{table}} ({", ".join(_REPLAYED)}, lane, deadline)
    SELECT {_REPLAYED_VALUES},
           CASE WHEN priority IS NOT NULL THEN {{lane}} END,
           now() + least((options ->> '{SCHEDULE_TO_CLOSE_MS}')::int8, (options ->> '{SCHEDULE_TO_START_MS}')::int8)
                   * interval '1 millisecond'
    FROM newest AS q ORDER BY dead_letter_id
    ON CONFLICT (job_id) DO NOTHING
    RETURNING job_id
)
DELETE FROM {DEAD_LETTER_TABLE} AS letter USING newest JOIN inserted USING (job_id)
WHERE letter.dead_letter_id = newest.dead_letter_id
RETURNING letter.dead_letter_id
"""
# An operation whose key waits in the outbox stays a dead letter. The others come last in the order of their workflows.
_REPLAY_OPERATIONS: Final = f"""
WITH locked AS MATERIALIZED (
    SELECT *, (options ->> 'request_id')::uuid AS request_id FROM {DEAD_LETTER_TABLE}
    WHERE dead_letter_id = ANY(%(ids)b::int8[]) AND operation IS NOT NULL
    ORDER BY dead_letter_id FOR UPDATE
), inserted AS (
    INSERT INTO {OUTBOX_TABLE} (operation, namespace, workflow_id, workflow_type, task_queue, name, input, signal_input,
                                options, request_id, key, format_version)
    SELECT operation, namespace, workflow_id, options ->> 'workflow_type', options ->> 'task_queue', options ->> 'name',
           input, decode(options ->> 'signal_input', 'base64'), nullif(options -> 'request', 'null'), request_id,
           options ->> 'key', format_version
    FROM locked ORDER BY dead_letter_id
    ON CONFLICT DO NOTHING
    RETURNING request_id
)
DELETE FROM {DEAD_LETTER_TABLE} AS letter USING locked JOIN inserted USING (request_id)
WHERE letter.dead_letter_id = locked.dead_letter_id
RETURNING letter.dead_letter_id, pg_notify('{OUTBOX_CHANNEL}', '')
""".encode()
_WITH_COMPLETED_ROW = f"""
SELECT letter.dead_letter_id FROM {DEAD_LETTER_TABLE} AS letter JOIN {{table}} AS q USING (job_id)
WHERE letter.dead_letter_id = ANY(%(ids)s::int8[]) AND q.outcome IS NOT NULL
"""
_COUNTS = b"""
SELECT queue, job_type, reason, error, count(*), max(died_at) FROM custom_task_dead_letter
WHERE died_at > now() - %s AND queue = ANY(%s)
GROUP BY queue, job_type, reason, error ORDER BY count(*) DESC, queue, job_type LIMIT 1000
"""
_COUNT = b"SELECT count(*) FROM custom_task_dead_letter WHERE queue = %s"
_PURGE = b"DELETE FROM custom_task_dead_letter WHERE dead_letter_id = ANY(%s::int8[])"


class Reason(StrEnum):
    """Why the queue gives a job up."""

    UNKNOWN_TYPE = "unknown_type"
    """No worker with a handler for its type came in time."""
    UNDECODABLE = "undecodable"
    """Its arguments or options can't be decoded."""
    LOCKED = "locked"
    """Its client has a payload codec or a key that this process lacks. It waits for one that has it. A job is given up
    for that only where no other process can have it, in `delegator.testing`."""
    UNREADABLE = "unreadable"
    """A value in its row can't be read. No release of this engine writes such a value."""
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    """Its retry policy allows no further attempt."""
    NON_RETRYABLE = "non_retryable"
    """A plain job failed for good. No workflow gets the failure."""
    TIMED_OUT = "timed_out"
    """A plain job passed its deadline. No workflow gets the failure."""
    NOT_FOUND = "not_found"
    """An operation of the outbox: Temporal did not know its workflow or its namespace, for a minute."""
    ALREADY_EXISTS = "already_exists"
    """An operation of the outbox: the workflow exists, and the operation's policy does not accept that."""
    REFUSED = "refused"
    """An operation of the outbox: Temporal refused its request, and would refuse it again."""


class NewDeadLetter(NamedTuple):
    """A job that the queue gives up."""

    job_id: str
    fencing_token: int
    outcome: str
    result: bytes
    """The outcome as the queue stores it. The dead letter keeps it as its failure."""
    reason: str
    """A `Reason`."""
    error: str
    """The error's type."""


class DeadLetter(NamedTuple):
    """A dead letter without its payloads."""

    id: int
    queue: str
    type: str
    reason: str
    error: str
    """The error's type."""
    job_id: str
    namespace: str | None
    workflow_id: str | None
    run_id: UUID | None
    attempt: int
    """Number of the last attempt; 0: there was none."""
    enqueued_at: datetime
    died_at: datetime
    format_version: int = FORMAT_VERSION
    """Of what it holds."""
    operation: str | None = None
    """What the outbox was to do; None: it was a job."""

    @property
    def kind(self) -> str:
        """`job`, or the operation of the outbox."""
        return self.operation or JOB


class DeadLetterCount(NamedTuple):
    """How many jobs of a type were given up."""

    queue: str
    type: str
    reason: str
    error: str
    jobs: int
    last_at: datetime


class Content(NamedTuple):
    """The payloads of a dead letter, as the queue had them."""

    failure: bytes | None
    input: bytes | None
    header: bytes | None
    options: dict[str, Any] | None


class LetterPlace(NamedTuple):
    """A place in the order of dead letters."""

    died_at: datetime
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters to take. A value of None selects all."""

    ids: Sequence[int] | None = None
    """Only these ids."""
    queue: str | None = None
    """Only those of this queue."""
    kind: str | None = None
    """Only jobs (`job`), or only these operations of the outbox."""
    job_type: str | None = None
    """Only those of this delegated activity type, or with this workflow type or signal."""
    reason: str | None = None
    """Only those given up for this `Reason`."""
    workflow_id: str | None = None
    """Only those enqueued by this workflow."""
    job_id: str | None = None
    """Only those of this job."""
    error: str | None = None
    """Only those with an error of this type."""
    since: datetime | timedelta | None = None
    """Only those given up at this time or later. A timedelta is the time before now, by the database's clock."""
    until: datetime | timedelta | None = None
    """Only those given up before this time. A timedelta as for `since`."""
    limit: int | None = None
    """Largest number of dead letters."""
    newest_first: bool = False
    """Start with the newest; False: with the oldest."""
    before: LetterPlace | None = None
    """Only those that are older than this place."""
    down_to: LetterPlace | None = None
    """Only those down to this place."""


async def store_dead_letters(
    connection: Connection, table: QueueTable, dead: Sequence[NewDeadLetter]
) -> dict[str, bool]:
    """Move jobs to the dead letters and store their outcome in their rows, in one statement.

    Returns:
        The ids of the jobs whose fencing token still matched, and whether an enqueuer waits inline for the outcome. If
        none does, signal the outcome and then delete the row.
    """
    ordered = sorted(dead)
    cursor = await table.notifying.execute(
        connection,
        table.statement(_STORE),
        {
            "queue": table.queue,
            "job_id": [job.job_id for job in ordered],
            "fencing_token": [job.fencing_token for job in ordered],
            "outcome": [job.outcome for job in ordered],
            "result": [job.result for job in ordered],
            "reason": [job.reason for job in ordered],
            "error": [job.error for job in ordered],
        },
        prepare=False,  # see WorkerStatements
    )
    return dict(await cursor.fetchall())


async def find(connection: Connection, selection: Selection) -> list[DeadLetter]:
    """Return the selected dead letters."""
    condition, parameters = where(selection, CONDITIONS)
    order = "DESC" if selection.newest_first else "ASC"
    parameters["limit"] = selection.limit
    statement = f"{_SELECT} {condition} ORDER BY died_at {order}, dead_letter_id {order} LIMIT %(limit)s"
    cursor = await connection.execute(statement.encode(), parameters)
    return [DeadLetter(*row) for row in await cursor.fetchall()]


async def counts(connection: Connection, queues: Sequence[str], age: timedelta) -> list[DeadLetterCount]:
    """Return how many jobs were given up lately, by queue, type, reason and error.

    Args:
        connection: where to.
        queues: of these queues.
        age: since so long ago.
    """
    cursor = await connection.execute(_COUNTS, (age, list(queues)))
    return [DeadLetterCount(*row) for row in await cursor.fetchall()]


async def content(connection: Connection, dead_letter_id: int) -> Content | None:
    """Return the payloads of a dead letter; None: it is gone."""
    cursor = await connection.execute(_CONTENT, (dead_letter_id,))
    row = await cursor.fetchone()
    return None if row is None else Content(*row)


async def replay(connection: Connection, table: QueueTable, ids: Sequence[int], *, signal: bool) -> set[int]:
    """Enqueue jobs again and delete their dead letters, in one statement.

    The job starts again: attempt 0, timeouts from now. A job whose id is in the queue stays a dead letter.

    Args:
        connection: where to.
        table: the queue's table.
        ids: dead letters of that queue.
        signal: keep the workflow, so that it gets the outcome. False: enqueue a plain job.

    Returns:
        The ids of the replayed dead letters.
    """
    cursor = await connection.execute(
        table.statement(_REPLAY), {"ids": list(ids), "queue": table.queue, "signal": signal}
    )
    return {row[0] for row in await cursor.fetchall()}


async def replay_operations(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Write operations to the outbox again and delete their dead letters, in one statement.

    Args:
        connection: where to.
        ids: dead letters that were operations.

    Returns:
        The ids of the replayed dead letters.
    """
    cursor = await Notifying().execute(connection, _REPLAY_OPERATIONS, {"ids": list(ids)})
    return {row[0] for row in await cursor.fetchall()}


async def with_completed_row(connection: Connection, table: QueueTable, ids: Collection[int]) -> set[int]:
    """Return the ids of those dead letters whose job id is that of a completed row of the queue.

    Args:
        connection: where to.
        table: the queue's table.
        ids: dead letters of that queue.
    """
    cursor = await connection.execute(table.statement(_WITH_COMPLETED_ROW), {"ids": list(ids)})
    return {row[0] for row in await cursor.fetchall()}


async def count(connection: Connection, queue: str) -> int:
    """Return how many dead letters a queue has."""
    row = await (await connection.execute(_COUNT, (queue,))).fetchone()
    return int(row[0]) if row else 0


async def purge(connection: Connection, ids: Sequence[int]) -> int:
    """Delete dead letters; return how many there were."""
    return (await connection.execute(_PURGE, (list(ids),))).rowcount
