"""The dispatcher's statements on `custom_task_outbox`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from delegator_schema.columns import DEAD_LETTER_TABLE, OUTBOX_TABLE
from delegator_schema.outbox import OUTBOX_QUEUE

from delegator.postgres.connections import Connection

_BYTES: Final = "coalesce(octet_length(input), 0) + coalesce(octet_length(signal_input), 0)"

# Operations on one workflow go in the order of their numbers, so one that backs off holds up those behind it. The
# namespace does not count here: an index over it would cost more than the rare wait for a namesake.
_DUE: Final = f"""
SELECT seq, operation, namespace, workflow_id, workflow_type, task_queue, name, input, signal_input, options::text,
       request_id::text, attempt, (extract(epoch FROM clock_timestamp() - refused_since))::float8, format_version
FROM (
    SELECT due.*, sum({_BYTES}) OVER (ORDER BY seq) - ({_BYTES}) AS bytes_before
    FROM (
        SELECT * FROM {OUTBOX_TABLE} AS o
        WHERE due_at <= clock_timestamp() AND workflow_id <> ALL(%(busy)s::text[])
          AND NOT EXISTS (SELECT FROM {OUTBOX_TABLE} AS earlier
                          WHERE earlier.workflow_id = o.workflow_id AND earlier.seq < o.seq
                            AND earlier.due_at > clock_timestamp())
        ORDER BY seq LIMIT %(limit)s
    ) AS due
) AS measured
WHERE bytes_before < %(max_bytes)s ORDER BY seq
""".encode()

_DELETE: Final = f"DELETE FROM {OUTBOX_TABLE} WHERE seq = ANY(%s::int8[])".encode()

_BACK_OFF: Final = f"""
UPDATE {OUTBOX_TABLE}
SET due_at = clock_timestamp() + %(delay)s, attempt = attempt + 1, last_error = %(error)s,
    refused_since = CASE WHEN %(is_refusal)s THEN coalesce(refused_since, clock_timestamp()) ELSE refused_since END
WHERE seq = %(seq)s
""".encode()

_GIVE_UP: Final = f"""
WITH dead AS (DELETE FROM {OUTBOX_TABLE} WHERE seq = %(seq)s RETURNING *)
INSERT INTO {DEAD_LETTER_TABLE}
    (queue, reason, error, job_id, job_type, input, options, namespace, workflow_id, attempt, enqueued_at,
     format_version, operation)
SELECT '{OUTBOX_QUEUE}', %(reason)s, %(error)s, coalesce(key, request_id::text),
       coalesce(workflow_type, name, operation), input,
       jsonb_strip_nulls(jsonb_build_object(
           'request_id', request_id, 'key', key, 'workflow_type', workflow_type, 'task_queue', task_queue,
           'name', name, 'signal_input', encode(signal_input, 'base64'))) || jsonb_build_object('request', options),
       namespace, workflow_id, attempt + 1, created_at, format_version, operation
FROM dead
""".encode()

_WAITING: Final = f"""
SELECT count(*), coalesce((extract(epoch FROM clock_timestamp() - min(created_at)))::float8, 0) FROM {OUTBOX_TABLE}
""".encode()


class Operation(NamedTuple):
    """An operation that is due."""

    seq: int
    operation: str
    """`start`, `signal`, `signal_with_start` or `cancel`."""
    namespace: str | None
    """None: that of the dispatcher."""
    workflow_id: str
    workflow_type: str | None
    task_queue: str | None
    name: str | None
    """The signal's name."""
    input: bytes | None
    """Serialized `Payloads`, through the codec."""
    signal_input: bytes | None
    options: str | None
    """JSON: other fields of Temporal's request."""
    request_id: str
    attempt: int
    """How many attempts Temporal refused."""
    refused_seconds: float | None
    """Time since Temporal first did not find the target; None: it has not said so."""
    format_version: int

    @property
    def size_bytes(self) -> int:
        """How much memory the payloads take."""
        return len(self.input or b"") + len(self.signal_input or b"")


async def due(connection: Connection, busy: Collection[str], *, limit: int, max_bytes: int) -> list[Operation]:
    """Return due operations in the order of their numbers.

    Args:
        connection: where to.
        busy: ids of workflows that are left out.
        limit: largest number of operations.
        max_bytes: most bytes of payloads. The last operation may exceed it.
    """
    parameters = {"busy": list(busy), "limit": limit, "max_bytes": max_bytes}
    cursor = await connection.execute(_DUE, parameters, binary=True)
    return list(map(Operation._make, await cursor.fetchall()))


async def delete(connection: Connection, seqs: Sequence[int]) -> None:
    """Delete operations that Temporal has carried out."""
    await connection.execute(_DELETE, (sorted(seqs),))


async def back_off(connection: Connection, seq: int, delay: timedelta, error: str, *, is_refusal: bool) -> None:
    """Put an operation off.

    Args:
        connection: where to.
        seq: the operation.
        delay: time until the next attempt.
        error: the status that Temporal answered.
        is_refusal: Temporal does not find the target. The time from the first such answer counts.
    """
    parameters = {"seq": seq, "delay": delay, "error": error, "is_refusal": is_refusal}
    await connection.execute(_BACK_OFF, parameters)


async def give_up(connection: Connection, seq: int, reason: str, error: str) -> bool:
    """Make an operation a dead letter. Return whether it still existed.

    Args:
        connection: where to.
        seq: the operation.
        reason: a `delegator.postgres.dead_letters.Reason`.
        error: the status that Temporal answered.
    """
    return (await connection.execute(_GIVE_UP, {"seq": seq, "reason": reason, "error": error})).rowcount > 0


async def waiting(connection: Connection) -> tuple[int, float]:
    """Return the number of operations that wait, and the age of the oldest in seconds."""
    row = await (await connection.execute(_WAITING)).fetchone()
    return (0, 0.0) if row is None else (row[0], row[1])
