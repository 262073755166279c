"""The enqueuers' statements on a queue's table: enqueue, wait inline, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from delegator_schema.columns import FORMAT_VERSION
from delegator_schema.options import START_DELAY_MS
from psycopg.errors import UniqueViolation
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8

from delegator.postgres.arrays import text_array
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import DELAYED_UNTIL, LANE, PRIORITY
from delegator.postgres.new_jobs import SOURCES, NewJob
from delegator.postgres.queue_statements import QueueStatements

_INSERT = """
INSERT INTO {table} ({columns})
SELECT {values}
FROM unnest({arrays}) AS new ({names})
"""
# For an ordered queue, and for jobs with a start delay. The values come first, because the order and the delay are read
# from `options`. `clock_timestamp` keeps the order of the jobs of one statement.
_INSERT_PLACED = """
INSERT INTO {table} ({columns}, {more_columns})
SELECT {names_of_columns}, {more_values}
FROM (SELECT {values} FROM unnest({arrays}) AS new ({names})) AS q
"""
_DELAY: Final = f'"{START_DELAY_MS}":'
# Also in a caller's transaction, which a full queue of notifications would abort at its end.
_ANNOUNCE_DELAY = "SELECT pg_notify('{maintenance}', '') WHERE pg_notification_queue_usage() < 0.9"
_UNLESS_IN_QUEUE: Final = "ON CONFLICT (job_id) DO NOTHING RETURNING job_id"


# Never set waiter_id on a row where it is NULL: the workflow may already rely on the signal, and would never get an
# outcome that is stored for inline reading.
# An outcome that somebody has come for is kept for the whole retention from then on: another queue of the same
# workflow task may keep the reply back.
_ADOPT = """
UPDATE {table}
SET waiter_id = %(waiter_id)s, completed_at = CASE WHEN completed_at IS NOT NULL THEN clock_timestamp() END
WHERE job_id = ANY(%(job_id)b::text[]) AND waiter_id IS NOT NULL
RETURNING job_id
"""

# Here too waiter_id stays NULL where it is NULL: the signaller delivers such an outcome.
_TAKE_OVER = """
UPDATE {table}
SET waiter_id = CASE WHEN waiter_id IS NOT NULL THEN %(waiter_id)s::int8 END, completed_at = clock_timestamp()
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL
RETURNING job_id, outcome, result, format_version
"""

_READ = """
SELECT job_id, outcome, result, format_version
FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL
"""

_OWNED_BY_OTHERS = """
SELECT job_id, workflow_id FROM {table}
WHERE job_id = ANY(%(job_id)b::text[]) AND run_id IS DISTINCT FROM %(run_id)s::uuid
"""

# A job that was told to stop, because its run had closed, begins anew: its row goes, and with it its worker's lease.
_TAKE_BACK = """
WITH stopping AS (
    DELETE FROM {table}
    WHERE job_id = ANY(%(job_id)b::text[]) AND workflow_id = %(workflow_id)s AND run_id <> %(run_id)s::uuid
      AND outcome IS NULL AND cancel_requested
)
UPDATE {table} SET run_id = %(run_id)s::uuid
WHERE job_id = ANY(%(job_id)b::text[]) AND workflow_id = %(workflow_id)s AND run_id <> %(run_id)s::uuid
  AND NOT (outcome IS NULL AND cancel_requested)
"""

# Also of jobs that run: their workers hear of it by their next heartbeat, and what they return is dropped.
_REMOVE_OTHER_TYPES = """
DELETE FROM {table} AS q
USING unnest(%(job_id)b::text[], %(job_type)b::text[]) AS wanted (job_id, job_type)
WHERE q.job_id = wanted.job_id AND q.job_type <> wanted.job_type
RETURNING q.job_id
"""

_RELEASE_WAITER = """
UPDATE {table} SET waiter_id = NULL
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NULL
RETURNING job_id
"""

_UNFINISHED = """
SELECT job_id FROM {table} WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NULL
"""

_KNOWN = """
SELECT job_id, outcome IS NULL AND last_failure IS NOT NULL,
       outcome IS NULL AND (deadline IS NULL OR deadline > now())
FROM {table} WHERE job_id = ANY(%(job_id)b::text[])
"""

_HAND_OVER = """
WITH handed AS (
    UPDATE {table} SET waiter_id = NULL WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL RETURNING job_id
)
SELECT pg_notify('{maintenance}', '{outcome_stored}') FROM handed LIMIT 1
"""

# Only while the row names this waiter: another waiter may not have read the outcome yet.
_DELETE_READ = """
DELETE FROM {table}
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NOT NULL AND waiter_id = %(waiter_id)s
"""

# A row whose worker is dead counts as waiting, because no process would see the request.
_CANCEL_WAITING = """
DELETE FROM {table} AS q
WHERE q.job_id = ANY(%(job_id)b::text[]) AND q.outcome IS NULL
  AND (q.lease_id IS NULL OR {holder_is_gone})
  AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s::uuid)
RETURNING q.job_id
"""

# A job that has failed since the statement above backs off. Its next attempt is made due now, and sees the request.
_CANCEL_RUNNING = """
UPDATE {table}
SET cancel_requested = true, waiter_id = NULL,
    retry_at = CASE WHEN retry_at IS NOT NULL AND lease_id IS NULL THEN now() ELSE retry_at END
WHERE job_id = ANY(%(job_id)b::text[]) AND outcome IS NULL
  AND (%(run_id)s::uuid IS NULL OR run_id = %(run_id)s::uuid)
RETURNING job_id
"""


class KnownJob(NamedTuple):
    """A job that has a row."""

    is_retried: bool
    """Whether it has failed and is tried again."""
    is_in_time: bool
    """Whether it has not ended and its deadline is not over. A paused job's stands still."""


class StoredOutcome(NamedTuple):
    """An outcome that waits in its row."""

    job_id: str
    outcome: str
    result: bytes
    format_version: int = FORMAT_VERSION
    """Of what the row holds."""


class EnqueueStatements(QueueStatements):
    """The enqueuers' statements on one queue's table. Every method but `cancel` is one atomic statement.

    `insert` may need a second one.
    """

    def __init__(self, queue: str, *, ordered: bool = False) -> None:
        """Prepare the statements for `queue`.

        Args:
            queue: the queue.
            ordered: hand its jobs out by priority and fairness.

        Raises:
            ValueError: it is not a queue name.
        """
        super().__init__(queue)
        self.ordered = ordered
        self._inserts: dict[tuple[bool, *tuple[str, ...]], tuple[bytes, bytes]] = {}
        self._announce_delay = self.statement(_ANNOUNCE_DELAY)
        self._adopt = self.statement(_ADOPT)
        self._read = self.statement(_READ)
        self._take_over = self.statement(_TAKE_OVER)
        self._owned_by_others = self.statement(_OWNED_BY_OTHERS)
        self._take_back = self.statement(_TAKE_BACK)
        self._remove_other_types = self.statement(_REMOVE_OTHER_TYPES)
        self._release_waiter = self.statement(_RELEASE_WAITER)
        self._unfinished = self.statement(_UNFINISHED)
        self._known = self.statement(_KNOWN)
        self._hand_over = self.statement(_HAND_OVER)
        self._delete_read = self.statement(_DELETE_READ)
        self._cancel_waiting = self.statement(_CANCEL_WAITING)
        self._cancel_running = self.statement(_CANCEL_RUNNING)

    async def insert(
        self, connection: Connection, namespace: str | None, jobs: Sequence[NewJob], *, repeats: bool = False
    ) -> set[str]:
        """Insert the jobs that are not in the queue yet, and return their ids.

        A value that all jobs have in common is sent once. Usually no job is in the queue yet. So the first try is a
        plain INSERT. ON CONFLICT makes a speculative insertion, which costs a quarter more, and one more WAL record for
        each row (PostgreSQL manual, "INSERT"). In a caller's transaction the plain INSERT is left out, because a
        conflict would abort that transaction.

        Args:
            connection: where to.
            namespace: the namespace of the workflows.
            jobs: the jobs to insert.
            repeats: some of them are probably in the queue already.
        """
        varying: list[str] = []
        delayed = False
        parameters: dict[str, object] = {"namespace": namespace}
        for name, values in zip(NewJob._fields, zip(*jobs, strict=True), strict=True):
            transport = SOURCES[name].transport
            if name == "job_id" or values.count(values[0]) < len(values):
                varying.append(name)
                parameters[name] = transport.pack(values)
            else:
                # psycopg gives integers of different sizes different types, and prepares a statement for each type.
                is_int8 = transport.type == "int8" and values[0] is not None
                parameters[name] = Int8(values[0]) if is_int8 else values[0]
            if name == "options":
                different = set(values) if varying[-1] == name else values[:1]
                delayed = any(options is not None and _DELAY in options for options in different)
        plain, unless_there = self._insert_with(tuple(varying), delayed)
        if not repeats and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            with suppress(UniqueViolation):
                await connection.execute(plain, parameters)
                await self._announce(connection, delayed)
                return {job.job_id for job in jobs}
        cursor = await connection.execute(unless_there, parameters)
        new = {row[0] for row in await cursor.fetchall()}
        await self._announce(connection, delayed)
        return new

    async def _announce(self, connection: Connection, delayed: bool) -> None:
        """Tell the maintenance process that a start delay may end before it looks again."""
        if delayed:
            await self.notifying.execute(connection, self._announce_delay)

    def _insert_with(self, varying: tuple[str, ...], delayed: bool) -> tuple[bytes, bytes]:
        statements = self._inserts.get((delayed, *varying))
        if statements is None:
            columns, values = ["namespace", "format_version"], ["%(namespace)s", str(FORMAT_VERSION)]
            for name, (column, transport, expression) in SOURCES.items():
                value = f"new.{name}" if name in varying else f"%({name})b::{transport.type}"
                columns.append(column)
                values.append(expression.format(value=value))
            arrays = ", ".join(f"%({name})b::{SOURCES[name].transport.type}[]" for name in varying)
            parts = {"columns": ", ".join(columns), "arrays": arrays, "names": ", ".join(varying)}
            if more := self._placing(delayed):
                named = (f"{value} AS {column}" for value, column in zip(values, columns, strict=True))
                text = _INSERT_PLACED.format(
                    table=self.name,
                    values=", ".join(named),
                    names_of_columns=", ".join(f"q.{column}" for column in columns),
                    more_columns=", ".join(more),
                    more_values=", ".join(more.values()),
                    **parts,
                )
            else:
                text = _INSERT.format(table=self.name, values=", ".join(values), **parts)
            statements = text.encode(), (text + _UNLESS_IN_QUEUE).encode()
            self._inserts[delayed, *varying] = statements
        return statements

    def _placing(self, delayed: bool) -> dict[str, str]:
        """Return the columns of the order and of the start delay, with their values over `q`."""
        placing: dict[str, str] = {}
        if self.ordered:
            placing = {"priority": PRIORITY, "lane": LANE, "published_at": "clock_timestamp()"}
        if delayed:
            placing["retry_at"] = DELAYED_UNTIL
            if self.ordered:
                placing["lane"] = f"CASE WHEN {DELAYED_UNTIL} IS NULL THEN {LANE} END"
        return placing

    async def adopt(self, connection: Connection, job_ids: Sequence[str], waiter_id: int) -> set[str]:
        """Put a new waiter into rows that name another one, also into completed rows. Return their ids."""
        cursor = await connection.execute(self._adopt, {"job_id": text_array(sorted(job_ids)), "waiter_id": waiter_id})
        return {row[0] for row in await cursor.fetchall()}

    async def take_over(self, connection: Connection, job_ids: Sequence[str], waiter_id: int) -> list[StoredOutcome]:
        """Return the outcomes stored so far, and put a new waiter into those of their rows that name another one."""
        parameters = {"job_id": text_array(sorted(job_ids)), "waiter_id": waiter_id}
        cursor = await connection.execute(self._take_over, parameters, binary=True)
        return list(map(StoredOutcome._make, await cursor.fetchall()))

    async def read(self, connection: Connection, job_ids: Sequence[str]) -> list[StoredOutcome]:
        """Return the outcomes stored so far."""
        cursor = await connection.execute(self._read, {"job_id": text_array(job_ids)}, binary=True)
        return list(map(StoredOutcome._make, await cursor.fetchall()))

    async def owned_by_others(
        self, connection: Connection, job_ids: Sequence[str], run_id: str
    ) -> dict[str, str | None]:
        """Return which of these rows belong to other runs than this one, with the ids of their workflows."""
        parameters = {"job_id": text_array(sorted(job_ids)), "run_id": run_id}
        return dict(await (await connection.execute(self._owned_by_others, parameters)).fetchall())

    async def take_back(self, connection: Connection, job_ids: Sequence[str], workflow_id: str, run_id: str) -> None:
        """Make this run the owner of its workflow's rows of earlier runs. Remove rows of jobs that were told to stop.

        Args:
            connection: where to.
            job_ids: the rows. Those of other workflows are left alone.
            workflow_id: the workflow.
            run_id: its run, which was reset.
        """
        rest = set(job_ids)
        while rest:
            parameters = {"job_id": text_array(sorted(rest)), "workflow_id": workflow_id, "run_id": run_id}
            await connection.execute(self._take_back, parameters)
            # A row that was republished during the statement still names the earlier run.
            others = await self.owned_by_others(connection, sorted(rest), run_id)
            rest = {job_id for job_id, owner in others.items() if owner == workflow_id}

    async def remove_other_types(self, connection: Connection, wanted: Sequence[tuple[str, str]]) -> set[str]:
        """Delete the rows that have one of these ids and another type, and return their ids.

        Args:
            connection: where to.
            wanted: the jobs, as (job id, type).
        """
        parameters = {
            "job_id": text_array([job_id for job_id, _ in wanted]),
            "job_type": text_array([job_type for _, job_type in wanted]),
        }
        cursor = await connection.execute(self._remove_other_types, parameters, prepare=False)
        return {row[0] for row in await cursor.fetchall()}

    async def release_waiter(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Clear `waiter_id` in unfinished rows. Return the ids of those rows: their outcomes will be signalled.

        An update waits for a concurrent republication, and then misses the row that the republication has inserted.
        `unfinished` finds such rows.
        """
        cursor = await connection.execute(self._release_waiter, {"job_id": text_array(sorted(job_ids))})
        return {row[0] for row in await cursor.fetchall()}

    async def unfinished(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Return the ids of the rows that have no outcome yet."""
        cursor = await connection.execute(self._unfinished, {"job_id": text_array(sorted(job_ids))})
        return {row[0] for row in await cursor.fetchall()}

    async def known(self, connection: Connection, job_ids: Sequence[str]) -> dict[str, KnownJob]:
        """Return which of these jobs have a row, finished or not."""
        cursor = await connection.execute(self._known, {"job_id": text_array(sorted(job_ids))})
        return {job_id: KnownJob(*known) for job_id, *known in await cursor.fetchall()}

    async def hand_over(self, connection: Connection, job_ids: Sequence[str]) -> None:
        """Clear `waiter_id` in completed rows, so that the signaller delivers their outcomes."""
        await self.notifying.execute(connection, self._hand_over, {"job_id": text_array(sorted(job_ids))})

    async def delete_read(self, connection: Connection, job_ids: Sequence[str], waiter_id: int) -> int:
        """Delete completed rows that still name this waiter, which has read their outcomes. Return the number."""
        parameters = {"job_id": text_array(sorted(job_ids)), "waiter_id": waiter_id}
        cursor = await connection.execute(self._delete_read, parameters)
        return cursor.rowcount

    async def cancel(
        self, connection: Connection, job_ids: Sequence[str], run_id: str | None = None
    ) -> tuple[set[str], set[str]]:
        """Remove waiting rows, and ask running jobs to stop.

        Args:
            connection: where to.
            job_ids: the rows.
            run_id: leave rows alone that are not this run's; None: whosever they are.

        Returns:
            The ids of the removed rows, and the ids of the running jobs.
        """
        removed: set[str] = set()
        marked: set[str] = set()
        rest = set(job_ids)
        while rest:
            cursor = await connection.execute(
                self._cancel_waiting, {"job_id": text_array(sorted(rest)), "run_id": run_id}
            )
            removed |= {row[0] for row in await cursor.fetchall()}
            rest -= removed
            if rest:
                cursor = await connection.execute(
                    self._cancel_running, {"job_id": text_array(sorted(rest)), "run_id": run_id}
                )
                marked |= {row[0] for row in await cursor.fetchall()}
                rest -= marked
            if rest:  # completed, gone, or republished at that moment
                rest = await self.unfinished(connection, sorted(rest))
            if rest and run_id is not None:
                rest -= (await self.owned_by_others(connection, sorted(rest), run_id)).keys()
        return removed, marked
