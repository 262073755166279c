"""The sweeper's statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from psycopg import sql

from delegator.postgres.connections import Connection
from delegator.postgres.queue_republish import UNCLAIMED, republish_statement
from delegator.postgres.queue_table import OUTCOME_CHANNEL, QueueTable

BATCH: Final = 2_000

_EXPIRED_LEASES = b"""
SELECT lease_id FROM custom_task_lease
WHERE expires_at < now() AND pg_postmaster_start_time() < now() - %s
ORDER BY lease_id FOR UPDATE SKIP LOCKED
"""
_DELETE_LEASES = b"DELETE FROM custom_task_lease WHERE lease_id = ANY(%s)"

# Each time later, for as long as the stream says that it is empty while it is not: a backlog that can't be delivered
# must not be streamed again and again.
_LEFT_BEHIND = sql.SQL(
    "published_at < %(before)s - %(grace)s"
    " AND published_at < %(before)s - least(published_at - enqueued_at, interval '1 minute') AND "
)

_WATERMARK = b"""
SELECT max(delivery_watermark) FROM custom_task_lease WHERE queue = %s
"""

_NEXT_RETRY = """
SELECT (extract(epoch FROM min(retry_at) - now()))::float8 FROM {table} WHERE retry_at IS NOT NULL
"""

_OVERDUE = """
SELECT job_id, job_type, fencing_token, attempt, task_token, workflow_id, last_failure
FROM {table} AS q
WHERE deadline <= now() AND outcome IS NULL AND job_id <> ALL(%(without)b::text[])
  AND (lease_id IS NULL OR deadline <= now() - %(grace)s
       OR NOT EXISTS (SELECT FROM custom_task_lease l WHERE l.lease_id = q.lease_id AND l.expires_at > now()))
ORDER BY deadline LIMIT %(limit)s
"""

_TIME_OUT = """
WITH late AS MATERIALIZED (
    SELECT * FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(result)b::bytea[])
             AS late (job_id, fencing_token, result)
), stored AS (
    UPDATE {table} AS q
    SET outcome = 'failed', result = late.result, completed_at = now(), lease_id = NULL, retry_at = NULL,
        fencing_token = greatest(q.fencing_token + 1, pg_current_xact_id()::text::int8)
    FROM late
    WHERE q.job_id = late.job_id AND q.fencing_token = late.fencing_token AND q.outcome IS NULL
    RETURNING q.job_id, q.waiter_id
), told AS (
    SELECT pg_notify('{channel}' || waiter_id, job_id) FROM stored WHERE waiter_id IS NOT NULL
)
SELECT job_id FROM stored
UNION ALL
SELECT NULL WHERE (SELECT count(*) FROM told) < 0  -- never a row, but a CTE nobody reads is not run
"""

_DELETE_OVERDUE = """
DELETE FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND deadline <= now() AND outcome IS NULL
"""

_UNDELIVERED = """
SELECT job_id, namespace, workflow_id, run_id::text, outcome, result
FROM {table}
WHERE outcome IS NOT NULL AND waiter_id IS NULL AND completed_at < now() - %(age)s
  AND job_id <> ALL(%(without)b::text[])
LIMIT %(limit)s
"""

_DELETE_DELIVERED = """
DELETE FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL AND waiter_id IS NULL
"""

_DELETE_UNREAD = """
DELETE FROM {table} WHERE outcome IS NOT NULL AND completed_at < now() - %(retention)s AND waiter_id IS NOT NULL
"""


class OverdueJob(NamedTuple):
    """A job past its deadline."""

    job_id: str
    job_type: str
    fencing_token: int
    attempt: int
    task_token: bytes | None
    workflow_id: str | None
    last_failure: bytes | None


class UndeliveredOutcome(NamedTuple):
    """A stored outcome that nobody was told of."""

    job_id: str
    namespace: str | None
    workflow_id: str | None
    run_id: str | None
    outcome: str
    result: bytes


class MaintenanceStatements:
    """What the sweeper does to one queue's table."""

    def __init__(self, table: QueueTable) -> None:
        """Prepare the statements of a table."""
        self.table = table
        free: dict[str, sql.Composable] = {"lease_id": sql.NULL}
        self._abandoned = republish_statement(
            table.name, sql.SQL("lease_id = ANY(%(leases)s) AND outcome IS NULL"), free, BATCH
        )
        self._unknown_lease = republish_statement(
            table.name,
            sql.SQL(
                "lease_id IS NOT NULL AND outcome IS NULL AND NOT EXISTS "
                "(SELECT FROM custom_task_lease l WHERE l.lease_id = {}.lease_id)"
            ).format(sql.Identifier(table.name)),
            free,
            BATCH,
        )
        self._retries = republish_statement(
            table.name, sql.SQL("retry_at <= now() AND outcome IS NULL"), {"retry_at": sql.NULL}, BATCH
        )
        self._undelivered = republish_statement(table.name, _LEFT_BEHIND + UNCLAIMED, limit=BATCH)

        def statement(template: str) -> bytes:
            return template.format(table=table.name, channel=OUTCOME_CHANNEL).encode()

        self._next_retry = statement(_NEXT_RETRY)
        self._overdue = statement(_OVERDUE)
        self._time_out = statement(_TIME_OUT)
        self._delete_overdue = statement(_DELETE_OVERDUE)
        self._undelivered_outcomes = statement(_UNDELIVERED)
        self._delete_delivered = statement(_DELETE_DELIVERED)
        self._delete_unread = statement(_DELETE_UNREAD)

    async def republish_abandoned(self, connection: Connection, leases: Sequence[int]) -> int:
        """Republish what expired leases hold; return how many."""
        return await _repeat(connection, self._abandoned, {"leases": list(leases)})

    async def republish_unknown_lease(self, connection: Connection) -> int:
        """Republish what is held by leases that do not exist; return how many."""
        return await _repeat(connection, self._unknown_lease, {})

    async def republish_retries(self, connection: Connection) -> int:
        """Republish jobs whose next attempt is due; return how many."""
        return await _repeat(connection, self._retries, {})

    async def republish_undelivered(self, connection: Connection, grace: timedelta) -> int:
        """Republish jobs that the stream lost: published well before others that it has delivered; return how many."""
        cursor = await connection.execute(_WATERMARK, (self.table.queue,))
        row = await cursor.fetchone()
        if row is None or row[0] is None:
            return 0
        return await _repeat(connection, self._undelivered, {"before": row[0], "grace": grace})

    async def next_retry(self, connection: Connection) -> float | None:
        """Return in how many seconds the next retry is due; None: none is scheduled."""
        row = await (await connection.execute(self._next_retry)).fetchone()
        return None if row is None else row[0]

    async def overdue(self, connection: Connection, grace: timedelta, without: Sequence[str] = ()) -> list[OverdueJob]:
        """Return jobs past their deadline, but some; those that a live worker runs only after `grace`."""
        parameters = {"grace": grace, "limit": BATCH, "without": list(without)}
        cursor = await connection.execute(self._overdue, parameters, binary=True)
        return [OverdueJob(*row) for row in await cursor.fetchall()]

    async def time_out(self, connection: Connection, late: Sequence[tuple[str, int, bytes]]) -> int:
        """Store timeouts as outcomes, given as (job id, lease token, encoded outcome); return how many."""
        ordered = sorted(late)
        cursor = await connection.execute(
            self._time_out,
            {
                "job_id": [job_id for job_id, _, _ in ordered],
                "fencing_token": [token for _, token, _ in ordered],
                "result": [result for _, _, result in ordered],
            },
            prepare=False,  # see WorkerStatements
        )
        return len(await cursor.fetchall())

    async def delete_overdue(self, connection: Connection, job_ids: Sequence[str]) -> None:
        """Delete jobs past their deadline of which nobody need be told."""
        await connection.execute(self._delete_overdue, {"job_id": sorted(job_ids)})

    async def undelivered(
        self, connection: Connection, age: timedelta, without: Sequence[str] = ()
    ) -> list[UndeliveredOutcome]:
        """Return stored outcomes, but some, that nobody waits for inline, settled at least `age` ago."""
        parameters = {"age": age, "limit": BATCH, "without": list(without)}
        cursor = await connection.execute(self._undelivered_outcomes, parameters, binary=True)
        return [UndeliveredOutcome(*row) for row in await cursor.fetchall()]

    async def delete_delivered(self, connection: Connection, job_ids: Sequence[str]) -> None:
        """Delete settled rows whose outcome was signalled."""
        await connection.execute(self._delete_delivered, {"job_id": sorted(job_ids)})

    async def delete_unread(self, connection: Connection, retention: timedelta) -> int:
        """Delete settled rows whose inline reader never came back; return how many."""
        return (await connection.execute(self._delete_unread, {"retention": retention})).rowcount


async def expired_leases(connection: Connection, restart_grace: timedelta = timedelta(0)) -> list[int]:
    """Lock and return expired leases; their holders can't renew them until the transaction ends.

    Args:
        connection: in a transaction.
        restart_grace: time given to holders after a start of the server, before which nobody could renew.
    """
    cursor = await connection.execute(_EXPIRED_LEASES, (restart_grace,))
    return [row[0] for row in await cursor.fetchall()]


async def delete_leases(connection: Connection, leases: Sequence[int]) -> None:
    """Delete leases whose jobs were republished."""
    await connection.execute(_DELETE_LEASES, (list(leases),))


async def _repeat(connection: Connection, statement: sql.Composed, parameters: dict[str, Any]) -> int:
    total = 0
    while True:
        cursor = await connection.execute(statement, parameters)
        total += cursor.rowcount
        if cursor.rowcount < BATCH:
            return total
