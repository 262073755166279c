"""What workers do to a queue's table: claim, beat, finish."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from delegator.postgres.arrays import bytea_array, int4_array, int8_array, text_array
from delegator.postgres.connections import Connection
from delegator.postgres.queue_statements import QueueStatements

# Columns in the order of `Claimed`. `date_part` says in floating point what `extract` says in decimal, at a third of
# the cost.
_JOB: Final = """q.job_id, q.fencing_token, {attempt}, q.job_type, q.input, q.header, q.options::text,
              q.namespace, q.workflow_id, q.run_id::text, q.task_token, date_part('epoch', q.enqueued_at),
              q.heartbeat_details, q.cancel_requested, q.waiter_id IS NOT NULL,
              (date_part('epoch', {deadline} - now()) * 1000)::int8, date_part('epoch', now() - q.published_at)"""
_STARTED_DEADLINE: Final = """CASE WHEN q.options ? 'schedule_to_start_ms'
                        THEN q.enqueued_at + (q.options ->> 'schedule_to_close_ms')::int8 * interval '1 millisecond'
                        ELSE q.deadline END"""
_INVISIBLE: Final = """
SELECT job_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS streamed (job_id, token)
WHERE CASE WHEN pg_visible_in_snapshot(token::text::xid8, pg_current_snapshot()) THEN false
           ELSE token < pg_current_xact_id()::text::int8 END"""

# The array's order is the order in which the index is read and rows are locked, so that two claims of
# overlapping batches wait for each other instead of deadlocking: callers sort it.
# A walsender may send a transaction before its commit is visible to other snapshots. Such a row can't be claimed
# yet; that it is not simply gone must be judged by the very snapshot that misses it. Nor can any by a lease that has
# run out: it may be renewed in a moment, and with it the hold on rows of an earlier claim whose answer was lost.
# A fence beyond this transaction's own id is of no transaction: it came with the dump of another database.
# A row that had to be waited for is read as it is now, leases as they were when the statement began: a lease that this
# does not know to live may be younger. But then the claim that named it, of which the fence tells, is younger, too.
_CLAIM = f"""
WITH claimed AS (
    UPDATE {{table}} AS q
    SET lease_id = %(lease_id)s,
        fencing_token = greatest(q.fencing_token + 1, pg_current_xact_id()::text::int8),
        attempt = q.attempt + 1,
        deadline = {_STARTED_DEADLINE}
    WHERE q.job_id = ANY(%(job_id)b::text[])
      AND q.outcome IS NULL
      AND q.retry_at IS NULL
      AND (q.lease_id IS NULL OR (q.lease_id = %(lease_id)s AND q.fencing_token <> ALL(%(running)b::int8[]))
           OR NOT EXISTS (SELECT FROM custom_task_lease l WHERE l.lease_id = q.lease_id AND l.expires_at > now())
              AND pg_visible_in_snapshot(q.fencing_token::text::xid8, pg_current_snapshot()))
      AND EXISTS (SELECT FROM custom_task_lease mine WHERE mine.lease_id = %(lease_id)s AND mine.expires_at > now())
    RETURNING {_JOB.format(attempt="q.attempt", deadline="q.deadline")}
)
SELECT * FROM claimed
UNION ALL
{_INVISIBLE}
   OR NOT EXISTS (SELECT FROM custom_task_lease mine WHERE mine.lease_id = %(lease_id)s AND mine.expires_at > now())
"""

# A row whose fence has grown was published again, or is held by somebody: another message stands for it.
_LOOK = f"""
SELECT {_JOB.format(attempt="q.attempt + 1", deadline=_STARTED_DEADLINE)}
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS streamed (job_id, token)
JOIN {{table}} AS q ON q.job_id = streamed.job_id AND q.fencing_token = streamed.token
WHERE q.outcome IS NULL AND q.retry_at IS NULL
UNION ALL
{_INVISIBLE}
"""

_STORE_OUTCOMES = """
WITH stored AS (
    UPDATE {table} AS q
    SET outcome = done.outcome, result = done.result, completed_at = now(), lease_id = NULL
    FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[],
                %(part)b::int4[]) AS done (job_id, fencing_token, outcome, result, part)
    WHERE q.job_id = done.job_id AND q.fencing_token = done.fencing_token AND q.outcome IS NULL
      AND q.waiter_id IS NOT NULL
    RETURNING q.job_id, q.waiter_id, done.part
)
SELECT array_agg(job_id), pg_notify('{channel}' || waiter_id, string_agg(job_id, chr(10)))
FROM stored GROUP BY waiter_id, part
"""

# Most batches of a worker that is not busy are of one: by key, so that a plan made once will do, at half the cost.
_STORE_OUTCOME = """
UPDATE {table} SET outcome = %(outcome)b, result = %(result)b, completed_at = now(), lease_id = NULL
WHERE job_id = %(job_id)b AND fencing_token = %(fencing_token)b::int8 AND outcome IS NULL AND waiter_id IS NOT NULL
RETURNING pg_notify('{channel}' || waiter_id, job_id)
"""

_UNWAITED = """
SELECT q.job_id
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS held (job_id, fencing_token)
JOIN {table} AS q ON q.job_id = held.job_id AND q.fencing_token = held.fencing_token
WHERE q.outcome IS NULL AND q.waiter_id IS NULL
"""

_DELETE_HELD = """
DELETE FROM {table} AS q
USING unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS done (job_id, fencing_token)
WHERE q.job_id = done.job_id AND q.fencing_token = done.fencing_token
RETURNING q.job_id
"""

_DELETE_ONE = "DELETE FROM {table} WHERE job_id = %(job_id)b AND fencing_token = %(fencing_token)b::int8"

_RETRY = """
UPDATE {table} AS q
SET retry_at = now() + CASE WHEN q.cancel_requested THEN 0 ELSE failed.delay_ms END * interval '1 millisecond',
    lease_id = NULL, last_failure = coalesce(failed.failure, q.last_failure), attempt = failed.attempt,
    fencing_token = greatest(q.fencing_token + 1, pg_current_xact_id()::text::int8)
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(delay_ms)b::int8[], %(failure)b::bytea[],
            %(attempt)b::int4[])
     AS failed (job_id, fencing_token, delay_ms, failure, attempt)
WHERE q.job_id = failed.job_id AND q.fencing_token = failed.fencing_token AND q.outcome IS NULL
RETURNING q.job_id, pg_notify('{rescue}', '')
"""

_HELD = """
SELECT q.job_id, q.cancel_requested
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS held (job_id, fencing_token)
JOIN {table} AS q ON q.job_id = held.job_id AND q.fencing_token = held.fencing_token AND q.outcome IS NULL
"""

_HEARTBEAT = """
UPDATE {table} AS q SET heartbeat_details = beat.details
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(details)b::bytea[])
     AS beat (job_id, fencing_token, details)
WHERE q.job_id = beat.job_id AND q.fencing_token = beat.fencing_token AND q.outcome IS NULL
"""


_NOTIFICATION: Final = 7_000
"""Bytes of job ids that one NOTIFY may carry; PostgreSQL allows 8,000, and the last id may reach beyond."""


class Claimed(NamedTuple):
    """A row that this worker holds from now on."""

    job_id: str
    fencing_token: int
    attempt: int
    job_type: str
    input: bytes | None
    header: bytes | None
    options: str | None
    """JSON."""
    namespace: str | None
    workflow_id: str | None
    run_id: str | None
    task_token: bytes | None
    enqueued_at: float
    """When the job was first enqueued, in seconds since 1970."""
    heartbeat_details: bytes | None
    cancel_requested: bool
    has_waiter: bool
    """Somebody waits for the outcome inline; one that nobody waits for never gets a waiter."""
    deadline_ms: int | None
    """Milliseconds left until the job's deadline; None: it has none."""
    waited: float
    """Seconds since the row was published."""


class AttemptOutcome(NamedTuple):
    """An attempt's outcome, to be stored or signalled."""

    job_id: str
    fencing_token: int
    outcome: str
    result: bytes


class WorkerStatements(QueueStatements):
    """The workers' side of one queue's table. Every method is one statement, atomic by itself.

    Those that join the table with their parameters are planned each time, for a third of a millisecond a batch. A
    prepared statement's generic plan is made while the queue is short, reads the whole table, and is kept while a
    backlog grows, until somebody analyzes the table: 300 outcomes among 100,000 jobs then took seconds.
    """

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: it is not a queue name.
        """
        super().__init__(queue)
        self._claim = self.statement(_CLAIM)
        self._look = self.statement(_LOOK)
        self._store_outcomes = self.statement(_STORE_OUTCOMES)
        self._store_one = self.statement(_STORE_OUTCOME)
        self._unwaited = self.statement(_UNWAITED)
        self._delete_held = self.statement(_DELETE_HELD)
        self._delete_one = self.statement(_DELETE_ONE)
        self._retry = self.statement(_RETRY)
        self._held = self.statement(_HELD)
        self._heartbeat = self.statement(_HEARTBEAT)

    async def claim(
        self,
        connection: Connection,
        streamed: Sequence[tuple[str, int]],
        lease_id: int,
        running: Sequence[int] = (),
    ) -> tuple[list[Claimed], set[str]]:
        """Take the rows that nobody live holds under a lease, each with a new fence.

        A row that is gone, settled, waiting for a retry or held by a live worker is not returned.

        Args:
            connection: where to.
            streamed: the rows, as (job id, lease token as streamed).
            lease_id: this worker's lease.
            running: fences of rows that this worker runs. Others that it holds may be claimed again: their claim was
                committed without its hearing of it.

        Returns:
            The rows taken, and the ids of those to claim again: their insert is not visible yet, or the lease has
            run out and will be renewed or replaced.
        """
        return await _sorted_out(
            await connection.execute(
                self._claim,
                {**_fences(sorted(streamed)), "lease_id": lease_id, "running": int8_array(running)},
                binary=True,
            )
        )

    async def look(self, connection: Connection, streamed: Sequence[tuple[str, int]]) -> tuple[list[Claimed], set[str]]:
        """Read rows without claiming them, for a worker that does not.

        Args:
            connection: where to.
            streamed: the rows, as (job id, lease token as streamed).

        Returns:
            The rows that are as they were streamed, and the ids of those to read again: not visible yet.
        """
        return await _sorted_out(await connection.execute(self._look, _fences(streamed), binary=True, prepare=False))

    async def store_outcomes(self, connection: Connection, settled: Sequence[AttemptOutcome]) -> set[str]:
        """Store outcomes that somebody waits for inline, and tell them; return the ids of the stored ones."""
        if len(settled) == 1:
            (job,) = settled
            return {job.job_id} if (await connection.execute(self._store_one, job._asdict())).rowcount else set()
        ordered = sorted(settled)
        sizes = accumulate(len(job.job_id.encode()) + 1 for job in ordered)
        cursor = await connection.execute(
            self._store_outcomes,
            {
                "job_id": text_array([job.job_id for job in ordered]),
                "fencing_token": int8_array([job.fencing_token for job in ordered]),
                "outcome": text_array([job.outcome for job in ordered]),
                "result": bytea_array([job.result for job in ordered]),
                "part": int4_array([size // _NOTIFICATION for size in sizes]),
            },
            binary=True,
            prepare=False,
        )
        return {job_id for row in await cursor.fetchall() for job_id in row[0]}

    async def unwaited(self, connection: Connection, held: Sequence[tuple[str, int]]) -> set[str]:
        """Say which held rows, given as (job id, lease token), name no waiter: signal them, then delete them.

        They never will again: a row that `settle` has left alone and that this does not name is fenced off.
        """
        cursor = await connection.execute(self._unwaited, _fences(held), prepare=False)
        return {row[0] for row in await cursor.fetchall()}

    async def delete_held(self, connection: Connection, held: Sequence[tuple[str, int]]) -> set[str]:
        """Delete rows given as (job id, lease token), if the token still holds; return the ids of the deleted."""
        if len(held) == 1:
            ((job_id, token),) = held
            one = await connection.execute(self._delete_one, {"job_id": job_id, "fencing_token": token})
            return {job_id} if one.rowcount else set()
        cursor = await connection.execute(self._delete_held, _fences(sorted(held)), prepare=False)
        return {row[0] for row in await cursor.fetchall()}

    async def retry(
        self, connection: Connection, failed: Sequence[tuple[str, int, int, bytes | None, int]]
    ) -> set[str]:
        """Schedule next attempts, given as (job id, fence, delay in ms, failure, failed attempt); return the ids."""
        ordered = sorted(failed)
        cursor = await connection.execute(
            self._retry,
            {
                **_fences([job[:2] for job in ordered]),
                "delay_ms": int8_array([job[2] for job in ordered]),
                "failure": bytea_array([job[3] for job in ordered]),
                "attempt": int4_array([job[4] for job in ordered]),
            },
            prepare=False,
        )
        return {row[0] for row in await cursor.fetchall()}

    async def held(self, connection: Connection, held: Sequence[tuple[str, int]]) -> dict[str, bool]:
        """Return which of the (job id, lease token) pairs still hold, and whether a stop was asked for."""
        cursor = await connection.execute(self._held, _fences(held), prepare=False)
        return dict(await cursor.fetchall())

    async def heartbeat(self, connection: Connection, beats: Sequence[tuple[str, int, bytes]]) -> None:
        """Store heartbeat details, given as (job id, lease token, details)."""
        ordered = sorted(beats)
        await connection.execute(
            self._heartbeat,
            {
                **_fences([beat[:2] for beat in ordered]),
                "details": bytea_array([details for _, _, details in ordered]),
            },
            prepare=False,
        )


def _fences(held: Sequence[tuple[str, int]]) -> dict[str, Any]:
    return {
        "job_id": text_array([job_id for job_id, _ in held]),
        "fencing_token": int8_array([token for _, token in held]),
    }


async def _sorted_out(cursor: AsyncCursor[TupleRow]) -> tuple[list[Claimed], set[str]]:
    """Return what a statement read, and the ids of the rows that it could not see."""
    claimed: list[Claimed] = []
    again: set[str] = set()
    for row in await cursor.fetchall():
        if row[1] is None:
            again.add(row[0])
        else:
            claimed.append(Claimed._make(row))
    return claimed, again
