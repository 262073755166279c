"""The statements of `custom_task_dead_letter`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from delegator.postgres.connections import Connection
from delegator.postgres.queue_table import OUTCOME_CHANNEL, QueueTable

_STORE = """
WITH dead AS MATERIALIZED (
    SELECT * FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[],
                         %(reason)b::text[], %(error)b::text[])
             AS dead (job_id, fencing_token, outcome, result, reason, error)
), stored AS (
    UPDATE {table} AS q
    SET outcome = dead.outcome, result = dead.result, completed_at = now(), lease_id = NULL, retry_at = NULL
    FROM dead
    WHERE q.job_id = dead.job_id AND q.fencing_token = dead.fencing_token AND q.outcome IS NULL
    RETURNING q.*, dead.reason, dead.error
), buried AS (
    INSERT INTO custom_task_dead_letter (queue, reason, error, failure, job_id, job_type, input, header, options,
                                         namespace, workflow_id, run_id, attempt, enqueued_at)
    SELECT %(queue)s, reason, error, result, job_id, job_type, input, header, options,
           namespace, workflow_id, run_id, attempt, enqueued_at
    FROM stored
), told AS (
    SELECT pg_notify('{channel}' || waiter_id, string_agg(job_id, chr(10)))
    FROM (SELECT waiter_id, job_id,
                 sum(octet_length(job_id) + 1) OVER (PARTITION BY waiter_id ORDER BY job_id) / 7000 AS part
          FROM stored WHERE waiter_id IS NOT NULL) AS parts
    GROUP BY waiter_id, part
)
SELECT job_id, waiter_id IS NOT NULL FROM stored
UNION ALL
SELECT NULL, true WHERE (SELECT count(*) FROM told) < 0  -- never a row, but a CTE nobody reads is not run
"""

_SUMMARY = """dead_letter_id, queue, job_type, reason, error, job_id, namespace, workflow_id, run_id, attempt,
       enqueued_at, died_at"""
_SELECT = f"SELECT {_SUMMARY} FROM custom_task_dead_letter"
_CONDITIONS: Final = {
    "ids": "dead_letter_id = ANY(%(ids)s::int8[])",
    "queue": "queue = %(queue)s",
    "job_type": "job_type = %(job_type)s",
    "reason": "reason = %(reason)s",
    "workflow_id": "workflow_id = %(workflow_id)s",
    "since": "died_at >= {ago} %(since)s",
    "until": "died_at < {ago} %(until)s",
}
_CONTENT = b"""
SELECT failure, input, header, options FROM custom_task_dead_letter WHERE dead_letter_id = %s
"""

# Locked first, so that of two replays at once the second finds nothing. Of several dead letters of one job only the
# newest can be inserted: the queue holds each job once.
_REPLAY = """
WITH locked AS MATERIALIZED (
    SELECT * FROM custom_task_dead_letter
    WHERE dead_letter_id = ANY(%(ids)b::int8[]) AND queue = %(queue)s
    ORDER BY dead_letter_id FOR UPDATE
), newest AS (
    SELECT DISTINCT ON (job_id) * FROM locked ORDER BY job_id, dead_letter_id DESC
), inserted AS (
    INSERT INTO {table} (job_id, job_type, input, header, options, namespace, workflow_id, run_id, deadline)
    SELECT job_id, job_type, input, header, options,
           CASE WHEN %(signal)s THEN namespace END, CASE WHEN %(signal)s THEN workflow_id END,
           CASE WHEN %(signal)s THEN run_id END,
           now() + least((options ->> 'schedule_to_close_ms')::int8, (options ->> 'schedule_to_start_ms')::int8)
                   * interval '1 millisecond'
    FROM newest ORDER BY dead_letter_id
    ON CONFLICT (job_id) DO NOTHING
    RETURNING job_id
)
DELETE FROM custom_task_dead_letter AS letter USING newest JOIN inserted USING (job_id)
WHERE letter.dead_letter_id = newest.dead_letter_id
RETURNING letter.dead_letter_id
"""
_PURGE = b"DELETE FROM custom_task_dead_letter WHERE dead_letter_id = ANY(%s::int8[])"

REASONS: Final = ("unknown_type", "undecodable", "attempts_exhausted", "non_retryable", "timed_out")
"""Why a job is given up, as `reason` says it."""


class NewDeadLetter(NamedTuple):
    """A job to be given up."""

    job_id: str
    fencing_token: int
    outcome: str
    result: bytes
    """The outcome as the queue stores it; also kept as the dead letter's failure."""
    reason: str
    """One of REASONS."""
    error: str
    """The error's type."""


class DeadLetter(NamedTuple):
    """A dead letter without what it holds."""

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


class Content(NamedTuple):
    """What a dead letter holds, as the queue had it."""

    failure: bytes | None
    input: bytes | None
    header: bytes | None
    options: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters. What is None does not narrow the choice."""

    ids: Sequence[int] | None = None
    """These only."""
    queue: str | None = None
    """Of this queue."""
    job_type: str | None = None
    """Of this delegated activity type."""
    reason: str | None = None
    """Given up for this reason; one of REASONS."""
    workflow_id: str | None = None
    """Enqueued by this workflow."""
    since: datetime | timedelta | None = None
    """Given up then or later; a timedelta: so long ago, by the database's clock."""
    until: datetime | timedelta | None = None
    """Given up before; a timedelta as above."""
    limit: int | None = None
    """At most so many."""
    newest_first: bool = False
    """Choose and return the newest first, else the oldest."""


async def store_dead_letters(
    connection: Connection, table: QueueTable, dead: Sequence[NewDeadLetter]
) -> dict[str, bool]:
    """Move jobs to the dead letters and store their outcome in their rows, in one statement.

    Returns:
        The ids of those whose fence held, and whether a delegator waits inline for the outcome; if not, signal it
        and delete the row.
    """
    ordered = sorted(dead)
    cursor = await connection.execute(
        _STORE.format(table=table.name, channel=OUTCOME_CHANNEL).encode(),
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
    given = {name: getattr(selection, name) for name in _CONDITIONS}
    parameters = {name: value for name, value in given.items() if value is not None}
    if selection.ids is not None:
        parameters["ids"] = list(selection.ids)
    conditions = [
        _CONDITIONS[name].format(ago="now() -" if isinstance(value, timedelta) else "")
        for name, value in parameters.items()
    ]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "DESC" if selection.newest_first else "ASC"
    parameters["limit"] = selection.limit
    statement = f"{_SELECT} {where} ORDER BY died_at {order}, dead_letter_id {order} LIMIT %(limit)s"
    cursor = await connection.execute(statement.encode(), parameters)
    return [DeadLetter(*row) for row in await cursor.fetchall()]


async def content(connection: Connection, dead_letter_id: int) -> Content | None:
    """Return what a dead letter holds; None: it is gone."""
    cursor = await connection.execute(_CONTENT, (dead_letter_id,))
    row = await cursor.fetchone()
    return None if row is None else Content(*row)


async def replay(connection: Connection, table: QueueTable, ids: Sequence[int], *, signal: bool) -> set[int]:
    """Enqueue jobs again and delete their dead letters, in one statement.

    The job begins anew: attempt 0, its timeouts from now. One whose id is in the queue stays where it is.

    Args:
        connection: where to.
        table: the queue's table.
        ids: dead letters of that queue.
        signal: keep the workflow that is to be told of the outcome; else a plain job is enqueued.

    Returns:
        The ids of the replayed dead letters.
    """
    cursor = await connection.execute(
        _REPLAY.format(table=table.name).encode(), {"ids": list(ids), "queue": table.queue, "signal": signal}
    )
    return {row[0] for row in await cursor.fetchall()}


async def purge(connection: Connection, ids: Sequence[int]) -> int:
    """Delete dead letters; return how many there were."""
    return (await connection.execute(_PURGE, (list(ids),))).rowcount
