"""The workers' statements on a queue's table: claim, heartbeat, finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Final, NamedTuple

from delegator_schema.columns import FORMAT_VERSION
from delegator_schema.options import SCHEDULE_TO_CLOSE_MS, SCHEDULE_TO_START_MS
from delegator_schema.outbox import NO_WAITER
from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from delegator.postgres.arrays import bytea_array, int4_array, int8_array, text_array
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import DEADLINE_LEFT, PAUSES_OF_JOB, START_DELAY
from delegator.postgres.queue_republish import republish_template
from delegator.postgres.queue_statements import QueueStatements, held_rows

_NOTIFICATION_BYTES: Final = 7_000
"""Bytes of job ids in one NOTIFY. PostgreSQL allows 8,000; the last id may exceed this number."""


class Claimed(NamedTuple):
    """A row that this worker has claimed."""

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
    """A process waits for the outcome inline. A row without a waiter never gets one."""
    deadline_ms: int | None
    """Milliseconds left until the job's deadline; None: it has none."""
    waited_seconds: float
    """Time since the row was published."""
    format_version: int = FORMAT_VERSION
    """Of what the row holds."""


class AttemptOutcome(NamedTuple):
    """An attempt's outcome, to be stored or signalled."""

    job_id: str
    fencing_token: int
    outcome: str
    result: bytes


_EXPRESSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "attempt": "{attempt}",
        "options": "q.options::text",
        "run_id": "q.run_id::text",
        "enqueued_at": "date_part('epoch', q.enqueued_at)",
        "has_waiter": "q.waiter_id IS NOT NULL",
        "deadline_ms": DEADLINE_LEFT,
        "waited_seconds": "date_part('epoch', now() - q.published_at)",
    }
)
"""The fields of `Claimed` that are not the column of the same name."""

CLAIMED: Final = ", ".join(_EXPRESSIONS.get(name, f"q.{name}") for name in Claimed._fields)
"""The columns of a claimed row, as a template over `{attempt}` and `{deadline}`."""
STARTED_DEADLINE: Final = f"""CASE WHEN q.options ? '{SCHEDULE_TO_START_MS}'
                        THEN q.enqueued_at + (q.options ->> '{SCHEDULE_TO_CLOSE_MS}')::int8 * interval '1 millisecond'
                             + {START_DELAY}
                        ELSE q.deadline END"""
"""The deadline from the first claim on: the schedule-to-start timeout does not count any more."""
_INVISIBLE: Final = f"""
SELECT job_id{", NULL" * (len(Claimed._fields) - 1)}
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS streamed (job_id, token)
WHERE CASE WHEN pg_visible_in_snapshot(token::text::xid8, pg_current_snapshot()) THEN false
           ELSE token < pg_current_xact_id()::text::int8 END"""

# Callers sort the array, because PostgreSQL locks the rows in its order. So two claims of overlapping batches wait for
# each other and do not deadlock.
# A WAL sender may send a transaction before its commit is visible to other snapshots. Such a row can't be claimed yet.
# The statement's snapshot shows that the row is not gone. An expired lease can't claim: it may be renewed soon, and
# then it still holds rows of an earlier claim whose answer was lost. A fencing token that is greater than this
# transaction's id belongs to no transaction of this database: it came with the dump of another one.
_CLAIM = f"""
WITH claimed AS (
    UPDATE {{table}} AS q
    SET lease_id = %(lease_id)s,
        fencing_token = {{next_fencing_token}},
        attempt = q.attempt + 1,
        deadline = {STARTED_DEADLINE}
    WHERE q.job_id = ANY(%(job_id)b::text[])
      AND q.outcome IS NULL
      AND q.retry_at IS NULL
      AND (q.lease_id IS NULL OR (q.lease_id = %(lease_id)s AND q.fencing_token <> ALL(%(running)b::int8[])))
      AND {{own_lease_is_live}}
      {{unpaused}}
    RETURNING {CLAIMED.format(attempt="q.attempt", deadline="q.deadline")}
)
SELECT * FROM claimed
UNION ALL
{_INVISIBLE}
   OR NOT {{own_lease_is_live}}
"""

# A row whose fencing token has grown was republished, or a worker holds it. Another message names it.
_LOOK = f"""
SELECT {CLAIMED.format(attempt="q.attempt + 1", deadline=STARTED_DEADLINE)}
FROM {{held}}
JOIN {{table}} AS q ON {{is_held}}
WHERE q.outcome IS NULL AND q.retry_at IS NULL
  {{unpaused}}
UNION ALL
{_INVISIBLE}
"""
_UNPAUSED: Final = f"AND NOT EXISTS (SELECT {PAUSES_OF_JOB})"

_STORE_OUTCOMES = """
WITH stored AS (
    UPDATE {table} AS q
    SET outcome = done.outcome, result = done.result, {store_outcome}
    FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[],
                %(part)b::int4[]) AS done (job_id, fencing_token, outcome, result, part)
    WHERE q.job_id = done.job_id AND q.fencing_token = done.fencing_token AND q.outcome IS NULL
      AND q.waiter_id IS NOT NULL
    RETURNING q.job_id, q.waiter_id, done.part
)
SELECT array_agg(job_id), pg_notify('{channel}' || waiter_id, string_agg(job_id, chr(10)))
FROM stored GROUP BY waiter_id, part
"""

# Most batches of a worker that is not busy hold one job. This statement reads by key, so one prepared plan is enough.
# It costs half as much.
_STORE_OUTCOME = """
UPDATE {table} SET outcome = %(outcome)b, result = %(result)b, {store_outcome}
WHERE job_id = %(job_id)b AND fencing_token = %(fencing_token)b::int8 AND outcome IS NULL AND waiter_id IS NOT NULL
RETURNING pg_notify('{channel}' || waiter_id, job_id)
"""

_KEEP_OUTCOMES = """
UPDATE {table} AS q
SET outcome = done.outcome, result = done.result, {store_outcome}
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[])
     AS done (job_id, fencing_token, outcome, result)
WHERE q.job_id = done.job_id AND q.fencing_token = done.fencing_token AND q.outcome IS NULL
"""

_KEEP_DELIVERED = _KEEP_OUTCOMES.replace("{store_outcome}", f"{{store_outcome}}, waiter_id = {NO_WAITER}")

# The enqueuer looks at a row that it is notified of, and does not wait for it any longer if it has no outcome.
_LEAVE_TO_SIGNAL = """
WITH waited AS (
    SELECT q.job_id, q.waiter_id FROM {held} JOIN {table} AS q ON {is_held}
    WHERE q.outcome IS NULL AND q.waiter_id IS NOT NULL
    ORDER BY q.job_id FOR UPDATE OF q
), cleared AS (
    UPDATE {table} AS q SET waiter_id = NULL FROM waited WHERE q.job_id = waited.job_id
    RETURNING q.job_id, waited.waiter_id
)
SELECT pg_notify('{channel}' || waiter_id, job_id) FROM cleared
"""

_UNWAITED = """
SELECT q.job_id FROM {held} JOIN {table} AS q ON {is_held} WHERE q.outcome IS NULL AND q.waiter_id IS NULL
"""

_LAST_FAILURES = """
SELECT q.job_id, q.last_failure FROM {held} JOIN {table} AS q ON {is_held} WHERE q.last_failure IS NOT NULL
"""

_DELETE_HELD = "DELETE FROM {table} AS q USING {held} WHERE {is_held} RETURNING q.job_id"

_DELETE_ONE = "DELETE FROM {table} WHERE job_id = %(job_id)b AND fencing_token = %(fencing_token)b::int8"

_STILL_HELD = """
SELECT q.job_id, q.cancel_requested FROM {held} JOIN {table} AS q ON {is_held} AND q.outcome IS NULL
"""

_HEARTBEAT = """
UPDATE {table} AS q SET heartbeat_details = heartbeat.details
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(details)b::bytea[])
     AS heartbeat (job_id, fencing_token, details)
WHERE q.job_id = heartbeat.job_id AND q.fencing_token = heartbeat.fencing_token AND q.outcome IS NULL
"""

_RELEASE = republish_template(
    "q.job_id = ANY(%(job_id)s) AND q.lease_id = %(lease_id)s AND q.outcome IS NULL",
    {"lease_id": "NULL", "attempt": "q.attempt - 1"},
)


class WorkerStatements(QueueStatements):
    """The workers' statements on one queue's table. Every method is one atomic statement.

    Statements that join the table with their parameters are planned each time. That takes a third of a millisecond for
    each batch. A prepared statement would get a generic plan while the queue is short, and that plan reads the whole
    table. It would stay while a backlog grows: 300 outcomes among 100,000 jobs then took seconds.
    """

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self._claim = self.statement(_CLAIM, unpaused="")
        self._claim_unpaused = self.statement(_CLAIM, unpaused=_UNPAUSED)
        self._look = self.statement(_LOOK, unpaused="")
        self._look_unpaused = self.statement(_LOOK, unpaused=_UNPAUSED)
        self._store_outcomes = self.statement(_STORE_OUTCOMES)
        self._store_one = self.statement(_STORE_OUTCOME)
        self._keep_outcomes = self.statement(_KEEP_OUTCOMES)
        self._keep_delivered = self.statement(_KEEP_DELIVERED)
        self._leave_to_signal = self.statement(_LEAVE_TO_SIGNAL)
        self._unwaited = self.statement(_UNWAITED)
        self._last_failures = self.statement(_LAST_FAILURES)
        self._delete_held = self.statement(_DELETE_HELD)
        self._delete_one = self.statement(_DELETE_ONE)
        self._held = self.statement(_STILL_HELD)
        self._heartbeat = self.statement(_HEARTBEAT)
        self._release = self.statement(_RELEASE)

    async def claim(
        self,
        connection: Connection,
        streamed: Sequence[tuple[str, int]],
        lease_id: int,
        running: Sequence[int] = (),
        *,
        has_pauses: bool = False,
    ) -> tuple[list[Claimed], set[str]]:
        """Claim rows that no live process holds. Each gets a new fencing token.

        A row is not returned if it is gone, completed, backing off or held by a live worker.

        Args:
            connection: where to.
            streamed: the rows, as (job id, fencing token as streamed).
            lease_id: this worker's lease.
            running: fencing tokens of rows that this worker runs. It may claim its other rows again: their claim was
                committed, and the answer was lost.
            has_pauses: leave out the jobs of types that are paused.

        Returns:
            The claimed rows, and the ids of those to claim again: their insert is not visible yet, or the lease has
            expired and will be renewed or replaced.
        """
        parameters = {**held_rows(sorted(streamed)), "lease_id": lease_id, "running": int8_array(running)}
        if has_pauses:
            parameters["queue"] = self.queue
        statement = self._claim_unpaused if has_pauses else self._claim
        return await _read_claimed(await connection.execute(statement, parameters, binary=True))

    async def look(
        self, connection: Connection, streamed: Sequence[tuple[str, int]], *, has_pauses: bool = False
    ) -> tuple[list[Claimed], set[str]]:
        """Read rows without a claim, for workers with `--claim none`.

        Args:
            connection: where to.
            streamed: the rows, as (job id, fencing token as streamed).
            has_pauses: leave out the jobs of types that are paused.

        Returns:
            The rows whose token still matches, and the ids of those to read again: they are not visible yet.
        """
        parameters = held_rows(streamed)
        if has_pauses:
            parameters["queue"] = self.queue
        statement = self._look_unpaused if has_pauses else self._look
        return await _read_claimed(await connection.execute(statement, parameters, binary=True, prepare=False))

    async def store_outcomes(self, connection: Connection, outcomes: Sequence[AttemptOutcome]) -> set[str]:
        """Store outcomes in rows with a waiter, and notify the enqueuer. Return the ids of those rows."""
        if len(outcomes) == 1:
            (job,) = outcomes
            stored = await self.notifying.execute(connection, self._store_one, job._asdict())
            return {job.job_id} if stored.rowcount else set()
        ordered = sorted(outcomes)
        sizes = accumulate(len(job.job_id.encode()) + 1 for job in ordered)
        cursor = await self.notifying.execute(
            connection,
            self._store_outcomes,
            {
                "job_id": text_array([job.job_id for job in ordered]),
                "fencing_token": int8_array([job.fencing_token for job in ordered]),
                "outcome": text_array([job.outcome for job in ordered]),
                "result": bytea_array([job.result for job in ordered]),
                "part": int4_array([size // _NOTIFICATION_BYTES for size in sizes]),
            },
            binary=True,
            prepare=False,
        )
        return {job_id for row in await cursor.fetchall() for job_id in row[0]}

    async def keep_outcomes(
        self, connection: Connection, outcomes: Sequence[AttemptOutcome], *, delivered: bool = False
    ) -> None:
        """Store outcomes that the signaller is to deliver.

        Args:
            connection: where to.
            outcomes: the outcomes.
            delivered: they are delivered, and stored only for a workflow task that enqueues the jobs again.
        """
        ordered = sorted(outcomes)
        await connection.execute(
            self._keep_delivered if delivered else self._keep_outcomes,
            {
                "job_id": text_array([job.job_id for job in ordered]),
                "fencing_token": int8_array([job.fencing_token for job in ordered]),
                "outcome": text_array([job.outcome for job in ordered]),
                "result": bytea_array([job.result for job in ordered]),
            },
            prepare=False,
        )

    async def leave_to_signal(self, connection: Connection, held: Sequence[tuple[str, int]]) -> None:
        """Have the outcomes of rows, given as (job id, fencing token), signalled. The enqueuer is notified."""
        await self.notifying.execute(connection, self._leave_to_signal, held_rows(sorted(held)), prepare=False)

    async def unwaited(self, connection: Connection, held: Sequence[tuple[str, int]]) -> set[str]:
        """Return which rows, given as (job id, fencing token), have no waiter. Signal their outcomes, then delete them.

        Such a row never gets a waiter again. If a row is neither stored by `store_outcomes` nor returned here, its
        fencing token has changed.
        """
        cursor = await connection.execute(self._unwaited, held_rows(held), prepare=False)
        return {row[0] for row in await cursor.fetchall()}

    async def last_failures(self, connection: Connection, held: Sequence[tuple[str, int]]) -> dict[str, bytes]:
        """Return the encoded failures of earlier attempts by job id. Rows are given as (job id, fencing token)."""
        cursor = await connection.execute(self._last_failures, held_rows(held), prepare=False, binary=True)
        return {row[0]: row[1] for row in await cursor.fetchall()}

    async def delete_held(self, connection: Connection, held: Sequence[tuple[str, int]]) -> set[str]:
        """Delete rows, given as (job id, fencing token), whose token still matches. Return their ids."""
        if len(held) == 1:
            ((job_id, token),) = held
            one = await connection.execute(self._delete_one, {"job_id": job_id, "fencing_token": token})
            return {job_id} if one.rowcount else set()
        cursor = await connection.execute(self._delete_held, held_rows(sorted(held)), prepare=False)
        return {row[0] for row in await cursor.fetchall()}

    async def held(self, connection: Connection, held: Sequence[tuple[str, int]]) -> dict[str, bool]:
        """Return which of the (job id, fencing token) pairs still match, and whether the job was asked to stop."""
        cursor = await connection.execute(self._held, held_rows(held), prepare=False)
        return dict(await cursor.fetchall())

    async def heartbeat(self, connection: Connection, heartbeats: Sequence[tuple[str, int, bytes]]) -> None:
        """Store heartbeat details, given as (job id, fencing token, details)."""
        ordered = sorted(heartbeats)
        await connection.execute(
            self._heartbeat,
            {
                **held_rows([heartbeat[:2] for heartbeat in ordered]),
                "details": bytea_array([details for _, _, details in ordered]),
            },
            prepare=False,
        )

    async def release(self, connection: Connection, job_ids: Sequence[str], lease_id: int) -> int:
        """Republish jobs that a lease holds, so that other workers take them at once. Return the number.

        The broken-off attempt does not count.
        """
        parameters = {"job_id": list(job_ids), "lease_id": lease_id, "limit": len(job_ids)}
        return (await connection.execute(self._release, parameters)).rowcount


async def _read_claimed(cursor: AsyncCursor[TupleRow]) -> tuple[list[Claimed], set[str]]:
    """Return the rows that a statement read, and the ids of the rows that are not visible to it yet."""
    claimed: list[Claimed] = []
    again: set[str] = set()
    for row in await cursor.fetchall():
        if row[1] is None:
            again.add(row[0])
        else:
            claimed.append(Claimed._make(row))
    return claimed, again
