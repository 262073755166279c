"""The statements of a queue's table (`custom_task_queue` and its siblings)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from delegator.store.database import Connection
from schema.queues import queue_table

OUTCOME_CHANNEL = "delegator_outcomes_"
"""Prefix of the channel on which a delegator hears that outcomes wait for it; its lease id follows."""
RESCUE_CHANNEL = "delegator_rescue"
"""The channel on which the sweeper hears that something is due sooner than it knew."""

_INSERT = """
INSERT INTO {table} (job_id, job_type, input, header, options, namespace, workflow_id, run_id, task_token,
                     deadline, waiter_id, heartbeat_details, attempt)
SELECT job_id, job_type, input, header, options::jsonb, %(namespace)s, workflow_id, run_id::uuid, task_token,
       now() + due_ms * interval '1 millisecond', waiter_id, heartbeat_details, attempt
FROM unnest(%(job_id)b::text[], %(job_type)b::text[], %(input)b::bytea[], %(header)b::bytea[], %(options)b::text[],
            %(workflow_id)b::text[], %(run_id)b::text[], %(task_token)b::bytea[], %(due_ms)b::int8[],
            %(waiter_id)b::int8[], %(heartbeat_details)b::bytea[], %(attempt)b::int4[])
     AS new (job_id, job_type, input, header, options, workflow_id, run_id, task_token, due_ms, waiter_id,
             heartbeat_details, attempt)
ON CONFLICT (job_id) DO NOTHING
RETURNING job_id
"""

# Who finds nobody named may not put his name there: a workflow may count on the signal already, and would never hear
# of an outcome that is stored for a delegator which nobody listens to any more.
_ADOPT = """
UPDATE {table} SET waiter_id = %(waiter_id)s
WHERE job_id = ANY(%(job_id)b::text[]) AND waiter_id IS NOT NULL
RETURNING job_id
"""

_READ = """
SELECT job_id, outcome, result FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL
"""

# As above: a settled row that names nobody is the sweeper's to tell.
_TAKE_OVER = """
UPDATE {table} SET waiter_id = CASE WHEN waiter_id IS NOT NULL THEN %(waiter_id)s::int8 END
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL
RETURNING job_id, outcome, result
"""

_RELEASE_WAITER = """
UPDATE {table} SET waiter_id = NULL
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NULL
RETURNING job_id
"""

_UNFINISHED = """
SELECT job_id FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NULL
"""

_HAND_OVER = """
WITH handed AS (
    UPDATE {table} SET waiter_id = NULL WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL RETURNING job_id
)
SELECT pg_notify('{rescue}', 'settled') FROM handed LIMIT 1
"""

# Only while the reader is the one who is named: whoever came after it may have the outcome still to read.
_DELETE_READ = """
DELETE FROM {table}
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL AND waiter_id = %(waiter_id)s
"""

# The array's order is the order in which the index is read and rows are locked, so that two claims of
# overlapping batches wait for each other instead of deadlocking: callers sort it.
# A walsender may send a transaction before its commit is visible to other snapshots. Such a row can't be claimed
# yet; that it is not simply gone must be judged by the very snapshot that misses it. Nor can any by a lease that has
# run out: it may be renewed in a moment, and with it the hold on rows of an earlier claim whose answer was lost.
# A fence beyond this transaction's own id is of no transaction: it came with the dump of another database.
# A row that had to be waited for is read as it is now, leases as they were when the statement began: a lease that this
# does not know to live may be younger. But then the claim that named it, of which the fence tells, is younger, too.
_CLAIM = """
WITH claimed AS (
    UPDATE {table} AS q
    SET lease_id = %(lease_id)s,
        lease_token = greatest(q.lease_token + 1, pg_current_xact_id()::text::int8),
        attempt = q.attempt + 1,
        deadline = CASE WHEN q.options ? 'schedule_to_start_ms'
                        THEN q.enqueued_at + (q.options ->> 'schedule_to_close_ms')::int8 * interval '1 millisecond'
                        ELSE q.deadline END
    WHERE q.job_id = ANY(%(job_id)b::text[])
      AND q.outcome IS NULL
      AND q.retry_at IS NULL
      AND (q.lease_id IS NULL OR (q.lease_id = %(lease_id)s AND q.lease_token <> ALL(%(running)b::int8[]))
           OR NOT EXISTS (SELECT FROM custom_task_lease l WHERE l.lease_id = q.lease_id AND l.expires_at > now())
              AND pg_visible_in_snapshot(q.lease_token::text::xid8, pg_current_snapshot()))
      AND EXISTS (SELECT FROM custom_task_lease mine WHERE mine.lease_id = %(lease_id)s AND mine.expires_at > now())
    RETURNING q.job_id, q.lease_token, q.attempt, q.heartbeat_details, q.cancel_requested,
              (extract(epoch FROM q.deadline - now()) * 1000)::int8,
              (extract(epoch FROM now() - q.emitted_at))::float8
)
SELECT * FROM claimed
UNION ALL
SELECT job_id, NULL, NULL, NULL, NULL, NULL, NULL
FROM unnest(%(job_id)b::text[], %(streamed_token)b::int8[]) AS streamed (job_id, token)
WHERE CASE WHEN pg_visible_in_snapshot(token::text::xid8, pg_current_snapshot()) THEN false
           ELSE token < pg_current_xact_id()::text::int8 END
   OR NOT EXISTS (SELECT FROM custom_task_lease mine WHERE mine.lease_id = %(lease_id)s AND mine.expires_at > now())
"""

_SETTLE = """
WITH done AS MATERIALIZED (
    SELECT * FROM unnest(%(job_id)b::text[], %(lease_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[])
             AS done (job_id, lease_token, outcome, result)
), stored AS (
    UPDATE {table} AS q
    SET outcome = done.outcome, result = done.result, settled_at = now(), lease_id = NULL
    FROM done
    WHERE q.job_id = done.job_id AND q.lease_token = done.lease_token AND q.outcome IS NULL
      AND q.waiter_id IS NOT NULL
    RETURNING q.job_id, q.waiter_id
), told AS (
    SELECT pg_notify('{channel}' || waiter_id, string_agg(job_id, chr(10)))
    FROM (SELECT waiter_id, job_id,
                 sum(octet_length(job_id) + 1) OVER (PARTITION BY waiter_id ORDER BY job_id) / 7000 AS part
          FROM stored) AS parts
    GROUP BY waiter_id, part
)
SELECT job_id, true FROM stored
UNION ALL
SELECT q.job_id, false FROM {table} AS q JOIN done USING (job_id, lease_token)
WHERE q.outcome IS NULL AND q.waiter_id IS NULL
UNION ALL
SELECT NULL, true WHERE (SELECT count(*) FROM told) < 0  -- never a row, but a CTE nobody reads is not run
"""

_DELETE_HELD = """
DELETE FROM {table} AS q
USING unnest(%(job_id)b::text[], %(lease_token)b::int8[]) AS done (job_id, lease_token)
WHERE q.job_id = done.job_id AND q.lease_token = done.lease_token
RETURNING q.job_id
"""

_RETRY = """
UPDATE {table} AS q
SET retry_at = now() + CASE WHEN q.cancel_requested THEN 0 ELSE failed.delay_ms END * interval '1 millisecond',
    lease_id = NULL, last_failure = failed.failure, attempt = failed.attempt,
    lease_token = greatest(q.lease_token + 1, pg_current_xact_id()::text::int8)
FROM unnest(%(job_id)b::text[], %(lease_token)b::int8[], %(delay_ms)b::int8[], %(failure)b::bytea[],
            %(attempt)b::int4[])
     AS failed (job_id, lease_token, delay_ms, failure, attempt)
WHERE q.job_id = failed.job_id AND q.lease_token = failed.lease_token AND q.outcome IS NULL
RETURNING q.job_id, pg_notify('{rescue}', '')
"""

_HELD = """
SELECT q.job_id, q.cancel_requested
FROM unnest(%(job_id)b::text[], %(lease_token)b::int8[]) AS held (job_id, lease_token)
JOIN {table} AS q ON q.job_id = held.job_id AND q.lease_token = held.lease_token AND q.outcome IS NULL
"""

_HEARTBEAT = """
UPDATE {table} AS q SET heartbeat_details = beat.details
FROM unnest(%(job_id)b::text[], %(lease_token)b::int8[], %(details)b::bytea[]) AS beat (job_id, lease_token, details)
WHERE q.job_id = beat.job_id AND q.lease_token = beat.lease_token AND q.outcome IS NULL
"""

# A row that a dead worker still holds counts as waiting: nobody would hear the request.
_CANCEL_WAITING = """
DELETE FROM {table} AS q
WHERE q.job_id = ANY(%(job_id)b::text[]) AND q.outcome IS NULL
  AND (q.lease_id IS NULL
       OR NOT EXISTS (SELECT FROM custom_task_lease l WHERE l.lease_id = q.lease_id AND l.expires_at > now())
          AND pg_visible_in_snapshot(q.lease_token::text::xid8, pg_current_snapshot()))
RETURNING q.job_id
"""

# One that has failed since the statement above waits for a retry: the next attempt, which will be told, is due now.
_CANCEL_RUNNING = """
UPDATE {table}
SET cancel_requested = true, waiter_id = NULL, retry_at = CASE WHEN retry_at IS NOT NULL THEN now() END
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NULL
RETURNING job_id
"""

_DEPTH = """
SELECT count(*) FILTER (WHERE outcome IS NULL AND lease_id IS NULL AND retry_at IS NULL),
       count(*) FILTER (WHERE lease_id IS NOT NULL AND outcome IS NULL),
       count(*) FILTER (WHERE retry_at IS NOT NULL),
       coalesce(extract(epoch FROM now() - min(enqueued_at) FILTER (WHERE outcome IS NULL)), 0)::float8
FROM {table}
"""


@dataclass(slots=True)
class NewJob:
    """A job to insert."""

    job_id: str
    """Its unique id."""
    job_type: str
    """The delegated activity type."""
    input: bytes | None
    """Serialized `Payloads`, through the codec."""
    header: bytes | None
    """Serialized `Header`."""
    options: str | None
    """JSON of the `options` column."""
    workflow_id: str | None
    """Workflow to signal."""
    run_id: str | None
    """Its run."""
    task_token: bytes | None
    """Activity task to complete."""
    due_ms: int | None
    """Milliseconds from now until the job times out, unless it is finished (or started) by then."""
    waiter_id: int | None
    """Lease of the delegator that waits inline."""
    heartbeat_details: bytes | None = None
    """Serialized `Payloads` of an earlier attempt's last heartbeat."""
    attempt: int = 0
    """Attempts made before, where Temporal counts them."""


class Claimed(NamedTuple):
    """A row that this worker holds from now on."""

    job_id: str
    lease_token: int
    attempt: int
    heartbeat_details: bytes | None
    cancel_requested: bool
    deadline_ms: int | None
    """Milliseconds left until the job's deadline; None: it has none."""
    waited: float
    """Seconds since the row was emitted."""


class StoredOutcome(NamedTuple):
    """An outcome that waits in its row."""

    job_id: str
    outcome: str
    result: bytes


class Settled(NamedTuple):
    """An attempt's outcome, to be stored or signalled."""

    job_id: str
    lease_token: int
    outcome: str
    result: bytes


class QueueTable:
    """The statements of one queue's table. Every method but `cancel` is one statement, atomic by itself.

    Those that join the table with their parameters are planned each time, for a third of a millisecond a batch. A
    prepared statement's generic plan is made while the queue is short, reads the whole table, and is kept while a
    backlog grows, until somebody analyzes the table: 300 outcomes among 100,000 jobs then took seconds.
    """

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: it is not a queue name.
        """
        self.queue = queue
        self.name = queue_table(queue)

        def statement(template: str) -> bytes:
            return template.format(table=self.name, channel=OUTCOME_CHANNEL, rescue=RESCUE_CHANNEL).encode()

        self._insert = statement(_INSERT)
        self._adopt = statement(_ADOPT)
        self._read = statement(_READ)
        self._take_over = statement(_TAKE_OVER)
        self._release_waiter = statement(_RELEASE_WAITER)
        self._unfinished = statement(_UNFINISHED)
        self._hand_over = statement(_HAND_OVER)
        self._delete_read = statement(_DELETE_READ)
        self._claim = statement(_CLAIM)
        self._settle = statement(_SETTLE)
        self._delete_held = statement(_DELETE_HELD)
        self._retry = statement(_RETRY)
        self._held = statement(_HELD)
        self._heartbeat = statement(_HEARTBEAT)
        self._cancel_waiting = statement(_CANCEL_WAITING)
        self._cancel_running = statement(_CANCEL_RUNNING)
        self._depth = statement(_DEPTH)

    async def insert(self, connection: Connection, namespace: str | None, jobs: Sequence[NewJob]) -> set[str]:
        """Insert the jobs that are not there yet and return the ids of those."""
        cursor = await connection.execute(
            self._insert,
            {
                "namespace": namespace,
                "job_id": [job.job_id for job in jobs],
                "job_type": [job.job_type for job in jobs],
                "input": [job.input for job in jobs],
                "header": [job.header for job in jobs],
                "options": [job.options for job in jobs],
                "workflow_id": [job.workflow_id for job in jobs],
                "run_id": [job.run_id for job in jobs],
                "task_token": [job.task_token for job in jobs],
                "due_ms": [job.due_ms for job in jobs],
                "waiter_id": [job.waiter_id for job in jobs],
                "heartbeat_details": [job.heartbeat_details for job in jobs],
                "attempt": [job.attempt for job in jobs],
            },
        )
        return {row[0] for row in await cursor.fetchall()}

    async def adopt(self, connection: Connection, job_ids: Sequence[str], waiter_id: int) -> set[str]:
        """Name a new waiter in rows that name another, settled ones too; return the ids of those."""
        cursor = await connection.execute(self._adopt, {"job_id": sorted(job_ids), "waiter_id": waiter_id})
        return {row[0] for row in await cursor.fetchall()}

    async def read(self, connection: Connection, job_ids: Sequence[str]) -> list[StoredOutcome]:
        """Return the outcomes stored so far."""
        cursor = await connection.execute(self._read, {"job_id": job_ids}, binary=True)
        return [StoredOutcome(*row) for row in await cursor.fetchall()]

    async def take_over(self, connection: Connection, job_ids: Sequence[str], waiter_id: int) -> list[StoredOutcome]:
        """Return the outcomes stored so far, and name a new waiter in their rows if they name another."""
        parameters = {"job_id": sorted(job_ids), "waiter_id": waiter_id}
        cursor = await connection.execute(self._take_over, parameters, binary=True)
        return [StoredOutcome(*row) for row in await cursor.fetchall()]

    async def release_waiter(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Stop waiting inline for unfinished rows: return the ids of those that will be signalled.

        An update waits for a concurrent re-emission and then misses the row that it has inserted: ask `unfinished`.
        """
        cursor = await connection.execute(self._release_waiter, {"job_id": sorted(job_ids)})
        return {row[0] for row in await cursor.fetchall()}

    async def unfinished(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Return the ids of the rows that have no outcome yet."""
        cursor = await connection.execute(self._unfinished, {"job_id": sorted(job_ids)})
        return {row[0] for row in await cursor.fetchall()}

    async def hand_over(self, connection: Connection, job_ids: Sequence[str]) -> None:
        """Name no waiter in settled rows, so that the sweeper signals their outcomes."""
        await connection.execute(self._hand_over, {"job_id": sorted(job_ids)})

    async def delete_read(self, connection: Connection, job_ids: Sequence[str], waiter_id: int) -> int:
        """Delete settled rows whose outcome was read by the waiter that they still name; return how many."""
        parameters = {"job_id": sorted(job_ids), "waiter_id": waiter_id}
        cursor = await connection.execute(self._delete_read, parameters)
        return cursor.rowcount

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
        ordered = sorted(streamed)
        cursor = await connection.execute(
            self._claim,
            {
                "job_id": [job_id for job_id, _ in ordered],
                "streamed_token": [token for _, token in ordered],
                "lease_id": lease_id,
                "running": list(running),
            },
            binary=True,
        )
        claimed: list[Claimed] = []
        again: set[str] = set()
        for row in await cursor.fetchall():
            if row[1] is None:
                again.add(row[0])
            else:
                claimed.append(Claimed(*row))
        return claimed, again

    async def settle(self, connection: Connection, settled: Sequence[Settled]) -> tuple[set[str], set[str]]:
        """Store outcomes that somebody waits for inline, and tell them.

        Returns:
            The ids of the stored ones, and of those that are held but have no waiter: signal them, then delete them.
            An id in neither was raced or is fenced off: ask once more to know.
        """
        ordered = sorted(settled)
        cursor = await connection.execute(
            self._settle,
            {
                "job_id": [job.job_id for job in ordered],
                "lease_token": [job.lease_token for job in ordered],
                "outcome": [job.outcome for job in ordered],
                "result": [job.result for job in ordered],
            },
            binary=True,
            prepare=False,
        )
        stored: set[str] = set()
        unwaited: set[str] = set()
        for job_id, was_stored in await cursor.fetchall():
            (stored if was_stored else unwaited).add(job_id)
        return stored, unwaited

    async def delete_held(self, connection: Connection, held: Sequence[tuple[str, int]]) -> set[str]:
        """Delete rows given as (job id, lease token), if the token still holds; return the ids of the deleted."""
        ordered = sorted(held)
        cursor = await connection.execute(
            self._delete_held,
            {"job_id": [job_id for job_id, _ in ordered], "lease_token": [token for _, token in ordered]},
            prepare=False,
        )
        return {row[0] for row in await cursor.fetchall()}

    async def retry(
        self, connection: Connection, failed: Sequence[tuple[str, int, int, bytes | None, int]]
    ) -> set[str]:
        """Schedule next attempts, given as (job id, fence, delay in ms, failure, failed attempt); return the ids."""
        ordered = sorted(failed)
        cursor = await connection.execute(
            self._retry,
            {
                "job_id": [job[0] for job in ordered],
                "lease_token": [job[1] for job in ordered],
                "delay_ms": [job[2] for job in ordered],
                "failure": [job[3] for job in ordered],
                "attempt": [job[4] for job in ordered],
            },
            prepare=False,
        )
        return {row[0] for row in await cursor.fetchall()}

    async def held(self, connection: Connection, held: Sequence[tuple[str, int]]) -> dict[str, bool]:
        """Return which of the (job id, lease token) pairs still hold, and whether a stop was asked for."""
        cursor = await connection.execute(
            self._held,
            {"job_id": [job_id for job_id, _ in held], "lease_token": [token for _, token in held]},
            prepare=False,
        )
        return dict(await cursor.fetchall())

    async def heartbeat(self, connection: Connection, beats: Sequence[tuple[str, int, bytes]]) -> None:
        """Store heartbeat details, given as (job id, lease token, details)."""
        ordered = sorted(beats)
        await connection.execute(
            self._heartbeat,
            {
                "job_id": [job_id for job_id, _, _ in ordered],
                "lease_token": [token for _, token, _ in ordered],
                "details": [details for _, _, details in ordered],
            },
            prepare=False,
        )

    async def cancel(self, connection: Connection, job_ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Remove waiting rows and mark running ones.

        Returns:
            The ids of the removed, and of those whose running handler will be asked to stop.
        """
        removed: set[str] = set()
        marked: set[str] = set()
        rest = set(job_ids)
        while rest:
            cursor = await connection.execute(self._cancel_waiting, {"job_id": sorted(rest)})
            removed |= {row[0] for row in await cursor.fetchall()}
            rest -= removed
            if rest:
                cursor = await connection.execute(self._cancel_running, {"job_id": sorted(rest)})
                marked |= {row[0] for row in await cursor.fetchall()}
                rest -= marked
            if rest:  # settled, gone, or re-emitted at that moment
                rest = await self.unfinished(connection, sorted(rest))
        return removed, marked

    async def depth(self, connection: Connection) -> tuple[int, int, int, float]:
        """Return how many jobs wait, run and wait for a retry, and the age of the oldest in seconds."""
        cursor = await connection.execute(self._depth)
        row = await cursor.fetchone()
        return row if row is not None else (0, 0, 0, 0.0)
