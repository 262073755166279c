"""The maintenance process's statements on a queue's table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from delegator_schema.columns import FORMAT_VERSION, LEASE_TABLE
from delegator_schema.outbox import NO_WAITER

from delegator.postgres import leases
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import DEADLINE_LEFT
from delegator.postgres.queue_republish import UNCLAIMED, republish_template
from delegator.postgres.queue_statements import QueueStatements
from delegator.postgres.queue_table import QueueTable

BATCH: Final = 2_000
NO_RUN: Final = "00000000-0000-0000-0000-000000000000"
"""Comes before every run id."""

# The pause grows with each republication of a row. The watermark may be wrong, and a backlog that can't be delivered
# must not be republished again and again.
_LEFT_OUT = (
    "q.published_at < %(before)s - %(grace)s"
    " AND q.published_at < %(before)s - least(q.published_at - q.enqueued_at, interval '1 minute') AND "
)

_NEXT_RETRY = """
SELECT (extract(epoch FROM min(retry_at) - now()))::float8 FROM {table} WHERE retry_at IS NOT NULL
"""

# Temporal decides about the attempts of activity tasks. A job that was asked to stop needs no further attempt.
_LOST_ATTEMPTS = f"""
SELECT job_id, job_type, fencing_token, attempt, options::text, workflow_id,
       {DEADLINE_LEFT.format(deadline="deadline")}, format_version
FROM {{table}} AS q
WHERE lease_id = ANY(%(leases)s) AND outcome IS NULL AND task_token IS NULL AND NOT cancel_requested
ORDER BY job_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

_LOST_TASKS = """
SELECT job_id, fencing_token FROM {table}
WHERE lease_id = ANY(%(leases)s) AND outcome IS NULL AND task_token IS NOT NULL AND NOT cancel_requested
ORDER BY job_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

_BACK_OFF = """
UPDATE {table} AS q
SET retry_at = now() + failed.delay_ms * interval '1 millisecond', lease_id = NULL, lane = NULL, permit = NULL,
    last_failure = coalesce(failed.failure, q.last_failure), fencing_token = {next_fencing_token},
    options = coalesce(q.options, jsonb_build_object()) || {with_attempt}
FROM (
    SELECT lost.*, NULL::int8 AS started_ms, lease.holder
    FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(delay_ms)b::int8[], %(failure)b::bytea[],
                %(error)b::text[]) AS lost (job_id, fencing_token, delay_ms, failure, error)
    JOIN {table} AS held USING (job_id) LEFT JOIN custom_task_lease AS lease USING (lease_id)
) AS failed
WHERE q.job_id = failed.job_id AND q.fencing_token = failed.fencing_token AND q.outcome IS NULL
RETURNING q.job_id, q.fencing_token
"""

_OVERDUE = """
SELECT job_id, job_type, fencing_token, attempt, task_token, workflow_id, last_failure, heartbeat_details,
       format_version, namespace, run_id::text, options::text
FROM {table} AS q
WHERE deadline <= now() AND outcome IS NULL AND job_id <> ALL(%(without)b::text[])
  AND (lease_id IS NULL OR deadline <= now() - %(grace)s OR NOT {lease_is_live})
ORDER BY deadline LIMIT %(limit)s
"""

_TIME_OUT = """
WITH overdue AS MATERIALIZED (
    SELECT * FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(result)b::bytea[])
             AS overdue (job_id, fencing_token, result)
), stored AS (
    UPDATE {table} AS q
    SET outcome = 'failed', result = overdue.result, {store_outcome}, fencing_token = {next_fencing_token}
    FROM overdue
    WHERE q.job_id = overdue.job_id AND q.fencing_token = overdue.fencing_token AND q.outcome IS NULL
    RETURNING q.job_id, q.waiter_id
), notified AS (
    SELECT pg_notify('{channel}' || waiter_id, job_id) FROM stored WHERE waiter_id IS NOT NULL
)
SELECT job_id FROM stored
UNION ALL
SELECT NULL WHERE (SELECT count(*) FROM notified) < 0  -- never a row; a CTE that no query reads is not run
"""

_DELETE_OVERDUE = """
DELETE FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND deadline <= now() AND outcome IS NULL
"""

_UNDELIVERED = """
SELECT job_id, namespace, workflow_id, run_id::text, outcome, result, format_version, job_type, options::text,
       task_token
FROM {table}
WHERE outcome IS NOT NULL AND waiter_id IS NULL AND completed_at < now() - %(age)s
  AND job_id <> ALL(%(without)b::text[])
  AND (run_id IS NULL OR run_id <> ALL(%(without_runs)b::uuid[]))
  AND (namespace IS NULL OR namespace <> ALL(%(without_namespaces)b::text[]))
LIMIT %(limit)s
"""

_WAITS_UNDELIVERED = f"""
SELECT EXISTS (SELECT FROM {{table}} AS q WHERE {UNCLAIMED} AND published_at < now() - interval '10 s')
"""

_DELETE_DELIVERED = """
DELETE FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL AND waiter_id IS NULL
"""

_KEEP_DELIVERED = f"""
UPDATE {{table}} SET waiter_id = {NO_WAITER}
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL AND waiter_id IS NULL
"""

_DELETE_UNREAD = """
DELETE FROM {table} WHERE outcome IS NOT NULL AND completed_at < now() - %(retention)s AND waiter_id IS NOT NULL
"""


_RUNS = """
SELECT namespace, workflow_id, run_id::text FROM {table}
WHERE run_id > %(after)s::uuid AND outcome IS NULL AND NOT cancel_requested AND enqueued_at < now() - %(age)s
  AND namespace IS NOT NULL AND workflow_id IS NOT NULL
GROUP BY run_id, namespace, workflow_id ORDER BY run_id LIMIT %(limit)s
"""

_JOBS_OF_RUNS = """
SELECT run_id::text, job_id, task_token IS NOT NULL FROM {table}
WHERE run_id = ANY(%(run_ids)s::uuid[]) AND outcome IS NULL AND NOT cancel_requested
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
    heartbeat_details: bytes | None
    format_version: int = FORMAT_VERSION
    """Of what the row holds."""
    namespace: str | None = None
    run_id: str | None = None
    options: str | None = None


class LostAttempt(NamedTuple):
    """A job whose worker died while it ran it."""

    job_id: str
    job_type: str
    fencing_token: int
    attempt: int
    """The number of the attempt that was lost."""
    options: str | None
    """JSON."""
    workflow_id: str | None
    deadline_ms: int | None
    """Milliseconds left until the job's deadline; None: it has none."""
    format_version: int = FORMAT_VERSION
    """Of what the row holds."""


class UndeliveredOutcome(NamedTuple):
    """A stored outcome that was not delivered yet."""

    job_id: str
    namespace: str | None
    workflow_id: str | None
    run_id: str | None
    outcome: str
    result: bytes
    format_version: int = FORMAT_VERSION
    """Of what the row holds."""
    job_type: str = ""
    options: str | None = None
    task_token: bytes | None = None
    """The activity task that waits for it; None: a workflow does, or nobody."""


class MaintenanceStatements(QueueStatements):
    """The maintenance process's statements on one queue's table."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self.table = QueueTable(queue)
        free = {"lease_id": "NULL"}
        self._abandoned = self.statement(
            republish_template("q.lease_id = ANY(%(leases)s) AND q.outcome IS NULL", free, BATCH)
        )
        self._lost_attempts = self.statement(_LOST_ATTEMPTS)
        self._lost_tasks = self.statement(_LOST_TASKS)
        self._back_off = self.statement(_BACK_OFF)
        self._unknown_lease = self.statement(
            republish_template(
                "q.lease_id IS NOT NULL AND q.outcome IS NULL AND NOT EXISTS "
                f"(SELECT FROM {LEASE_TABLE} AS lease WHERE lease.lease_id = q.lease_id)",
                free,
                BATCH,
            )
        )
        self._retries = self.statement(
            republish_template(
                "q.retry_at <= now() AND q.outcome IS NULL AND q.lease_id IS NULL", {"retry_at": "NULL"}, BATCH
            )
        )
        self._lost = self.statement(republish_template(_LEFT_OUT + UNCLAIMED, limit=BATCH))
        self._waits_undelivered = self.statement(_WAITS_UNDELIVERED)
        self._next_retry = self.statement(_NEXT_RETRY)
        self._overdue = self.statement(_OVERDUE)
        self._runs = self.statement(_RUNS)
        self._jobs_of_runs = self.statement(_JOBS_OF_RUNS)
        self._time_out = self.statement(_TIME_OUT)
        self._delete_overdue = self.statement(_DELETE_OVERDUE)
        self._undelivered = self.statement(_UNDELIVERED)
        self._delete_delivered = self.statement(_DELETE_DELIVERED)
        self._keep_delivered = self.statement(_KEEP_DELIVERED)
        self._delete_unread = self.statement(_DELETE_UNREAD)

    async def lost_attempts(self, connection: Connection, leases: Sequence[int]) -> list[LostAttempt]:
        """Lock and return jobs that expired leases hold, a batch at a time. Jobs of activity tasks are left out."""
        cursor = await connection.execute(self._lost_attempts, {"leases": list(leases), "limit": BATCH}, binary=True)
        return [LostAttempt(*row) for row in await cursor.fetchall()]

    async def lost_tasks(self, connection: Connection, leases: Sequence[int]) -> list[tuple[str, int]]:
        """Lock and return jobs of activity tasks that expired leases hold, a batch at a time.

        Returns:
            Job id and fencing token of each.
        """
        cursor = await connection.execute(self._lost_tasks, {"leases": list(leases), "limit": BATCH}, binary=True)
        return [(row[0], row[1]) for row in await cursor.fetchall()]

    async def back_off(
        self, connection: Connection, lost: Sequence[tuple[str, int, int, bytes | None, str]]
    ) -> dict[str, int]:
        """Free jobs and schedule their next attempts.

        Args:
            connection: where to.
            lost: (job id, fencing token, delay in ms, failure, the error's type) of each.

        Returns:
            The new fencing tokens, by job id.
        """
        ordered = sorted(lost, key=lambda job: job[0])
        cursor = await connection.execute(
            self._back_off,
            {
                "job_id": [job_id for job_id, *_ in ordered],
                "fencing_token": [token for _, token, *_ in ordered],
                "delay_ms": [delay for _, _, delay, *_ in ordered],
                "failure": [failure for *_, failure, _ in ordered],
                "error": [error for *_, error in ordered],
            },
            prepare=False,  # see WorkerStatements
        )
        return dict(await cursor.fetchall())

    async def republish_abandoned(self, connection: Connection, leases: Sequence[int]) -> int:
        """Republish the jobs that expired leases still hold. Return the number."""
        return await _repeat(connection, self._abandoned, {"leases": list(leases)})

    async def republish_unknown_lease(self, connection: Connection) -> int:
        """Republish jobs whose lease does not exist. Return the number."""
        return await _repeat(connection, self._unknown_lease, {})

    async def republish_retries(self, connection: Connection) -> int:
        """Republish jobs whose next attempt is due. Return the number."""
        return await _repeat(connection, self._retries, {})

    async def republish_undelivered(self, connection: Connection, grace: timedelta) -> int:
        """Republish jobs that the stream lost: they were published before the delivery watermark. Return the number."""
        watermark = await leases.delivery_watermark(connection, self.queue)
        if watermark is None:
            return 0
        return await _repeat(connection, self._lost, {"before": watermark, "grace": grace})

    async def waits_undelivered(self, connection: Connection) -> bool:
        """Return whether a job was published more than ten seconds ago, and no worker has claimed it."""
        row = await (await connection.execute(self._waits_undelivered)).fetchone()
        return row is not None and bool(row[0])

    async def next_retry(self, connection: Connection) -> float | None:
        """Return in how many seconds the next retry is due; None: no retry is scheduled."""
        row = await (await connection.execute(self._next_retry)).fetchone()
        return None if row is None else row[0]

    async def overdue(self, connection: Connection, grace: timedelta, without: Sequence[str] = ()) -> list[OverdueJob]:
        """Return overdue jobs that are not in `without`. A job that a live worker runs must be overdue by `grace`."""
        parameters = {"grace": grace, "limit": BATCH, "without": list(without)}
        cursor = await connection.execute(self._overdue, parameters, binary=True)
        return [OverdueJob(*row) for row in await cursor.fetchall()]

    async def runs(self, connection: Connection, age: timedelta, after: str = NO_RUN) -> list[tuple[str, str, str]]:
        """Return runs with unfinished jobs, as (namespace, workflow id, run id), in the order of their run ids.

        Args:
            connection: where to.
            age: how long ago such a job must have been enqueued.
            after: only run ids behind this one.
        """
        parameters = {"after": after, "age": age, "limit": BATCH}
        return [(row[0], row[1], row[2]) for row in await (await connection.execute(self._runs, parameters)).fetchall()]

    async def jobs_of_runs(self, connection: Connection, run_ids: Sequence[str]) -> list[tuple[str, str, bool]]:
        """Return the unfinished jobs of runs that nobody has asked to stop.

        Returns:
            Run id, job id, and whether a Temporal activity task waits for the outcome.
        """
        cursor = await connection.execute(self._jobs_of_runs, {"run_ids": list(run_ids)})
        return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def time_out(self, connection: Connection, overdue: Sequence[tuple[str, int, bytes]]) -> int:
        """Store timeouts as outcomes, given as (job id, fencing token, encoded outcome). Return the number."""
        ordered = sorted(overdue)
        cursor = await self.notifying.execute(
            connection,
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
        """Delete overdue jobs whose outcome no workflow waits for."""
        await connection.execute(self._delete_overdue, {"job_id": sorted(job_ids)})

    async def undelivered(
        self,
        connection: Connection,
        age: timedelta,
        without: Sequence[str] = (),
        without_runs: Sequence[str] = (),
        without_namespaces: Sequence[str] = (),
    ) -> list[UndeliveredOutcome]:
        """Return outcomes without a waiter that were stored at least `age` ago.

        Args:
            connection: where to.
            age: the least time since they were stored.
            without: job ids to leave out.
            without_runs: runs whose outcomes to leave out.
            without_namespaces: namespaces whose outcomes to leave out.
        """
        parameters = {
            "age": age,
            "limit": BATCH,
            "without": list(without),
            "without_runs": [UUID(run_id) for run_id in without_runs],
            "without_namespaces": list(without_namespaces),
        }
        cursor = await connection.execute(self._undelivered, parameters, binary=True)
        return [UndeliveredOutcome(*row) for row in await cursor.fetchall()]

    async def delete_delivered(self, connection: Connection, job_ids: Sequence[str]) -> None:
        """Delete completed rows whose outcome was signalled."""
        await connection.execute(self._delete_delivered, {"job_id": sorted(job_ids)})

    async def keep_delivered(self, connection: Connection, job_ids: Sequence[str]) -> None:
        """Keep completed rows whose outcome was signalled. Workflow tasks that enqueue their jobs again read them."""
        await connection.execute(self._keep_delivered, {"job_id": sorted(job_ids)})

    async def delete_unread(self, connection: Connection, retention: timedelta) -> int:
        """Delete completed rows whose enqueuer never read the outcome. Return the number."""
        return (await connection.execute(self._delete_unread, {"retention": retention})).rowcount


async def _repeat(connection: Connection, statement: bytes, parameters: dict[str, Any]) -> int:
    total = 0
    while True:
        cursor = await connection.execute(statement, parameters)
        total += cursor.rowcount
        if cursor.rowcount < BATCH:
            return total
