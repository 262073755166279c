"""Inline waiting: the enqueuer reads the outcomes of its jobs from their rows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import psycopg

from delegator.errors import ConfigurationError, DatabaseError, first_line
from delegator.postgres.connections import Connection, DatabaseAddress, Pool, connect
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.notifications import listen_for_outcomes
from delegator.postgres.queue_table import QueueTable, StoredOutcome
from delegator.runtime.backoff import Backoff

_log = logging.getLogger(__name__)
_POLL_LISTENING_SECONDS = 0.5
_POLL_NOT_LISTENING_SECONDS = 0.02
_LONGER_TTL_FACTOR = 8
_MOST_EARLY_NOTIFICATIONS = 10_000

CONNECTION_SECONDS = 3.0
"""How long a local activity waits for a connection, because it holds a workflow task."""


class _Wait:
    __slots__ = ("found", "future", "missing", "table")

    def __init__(self, table: QueueTable, job_ids: Iterable[str]) -> None:
        self.table = table
        self.missing = set(job_ids)
        self.found: list[StoredOutcome] = []
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class InlineWaiter:
    """Waits for outcomes of rows that name this process's lease. Use as an async context manager.

    The row is the truth. NOTIFY only says which rows to read. Without notifications the rows are polled.
    """

    def __init__(
        self, pool: Pool, database: str | DatabaseAddress, lease: LeaseKeeper, *, result_ttl_seconds: float
    ) -> None:
        """Prepare the waiter.

        Args:
            pool: connections for statements.
            database: where to LISTEN, on a connection of its own.
            lease: this process's lease; rows name it.
            result_ttl_seconds: how long a row that was read is kept, because the workflow task may run again. While
                tasks are seen to run again, rows are kept eight times as long. Time in which this process was paused
                does not count.
        """
        self._pool = pool
        self._database = database
        self._lease = lease
        self._result_ttl_seconds = result_ttl_seconds
        self._waits: dict[str, _Wait] = {}
        self._early_notifications: dict[str, None] = {}
        self._hints: dict[QueueTable, set[str]] = defaultdict(set)
        self._hinted = asyncio.Event()
        self._reading: set[QueueTable] = set()
        self._deleting: set[QueueTable] = set()
        self._backoffs: dict[QueueTable, Backoff] = defaultdict(Backoff)
        self._notified: set[str] = set()
        self._has_waits = asyncio.Event()
        self._read_rows: deque[tuple[float, QueueTable, int, list[str]]] = deque()
        self._awake_seconds = 0.0
        self._longer_ttl_until_seconds = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self.waiting = 0
        """The number of callers that wait now."""
        self.listening = False
        """Whether notifications arrive. While they do not, rows are polled often."""

    async def __aenter__(self) -> Self:
        loops = {
            "listen": self._listen(),
            "read": self._read(),
            "poll": self._poll(),
            "delete": self._delete_read(),
        }
        self._tasks = [asyncio.create_task(loop, name=f"inline-{name}") for name, loop in loops.items()]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def wait(
        self, table: QueueTable, job_ids: Sequence[str], timeout_seconds: float, completed: Sequence[str] = ()
    ) -> list[StoredOutcome]:
        """Wait for the outcomes of rows that name this lease, and return those found in time.

        When this returns, the other rows name no waiter. Their outcomes will be signalled.

        Args:
            table: the queue's table.
            job_ids: rows that name this lease.
            timeout_seconds: longest wait.
            completed: rows that may have their outcome already.

        Raises:
            psycopg.Error: the connection was lost. The rows may still name this lease.
        """
        wait = _Wait(table, job_ids)
        self._waits.update(dict.fromkeys(job_ids, wait))
        self.waiting += 1
        self._has_waits.set()
        early = (
            [job_id for job_id in job_ids if job_id in self._early_notifications] if self._early_notifications else []
        )
        for job_id in early:
            del self._early_notifications[job_id]
        self._notified.update(early)
        if completed or early:
            self._hint(table, (*completed, *early))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await wait.future
            if wait.missing:
                await self._release(wait)
        finally:
            self.waiting -= 1
            for job_id in job_ids:
                self._waits.pop(job_id, None)
            if not self._waits:
                self._has_waits.clear()
        return wait.found

    def delete_later(self, table: QueueTable, job_ids: list[str]) -> None:
        """Delete completed rows that were read, after the result TTL."""
        if job_ids:
            self._read_rows.append((self._awake_seconds, table, self._lease.lease_id, job_ids))

    def tasks_are_run_again(self) -> None:
        """Keep rows that were read for longer, for a while: workflow tasks time out and run again."""
        self._longer_ttl_until_seconds = self._awake_seconds + self._result_ttl_seconds * _LONGER_TTL_FACTOR

    async def hand_over(self, table: QueueTable, job_ids: Sequence[str]) -> None:
        """Let the signaller deliver the outcomes of completed rows."""
        async with self._pool.share(table.queue).connection(CONNECTION_SECONDS) as connection:
            await table.hand_over(connection, job_ids)

    async def _release(self, wait: _Wait) -> None:
        async with self._pool.share(wait.table.queue).connection(CONNECTION_SECONDS) as connection:
            self._found(wait, await stop_waiting(connection, wait.table, wait.missing))

    def _hint(self, table: QueueTable, job_ids: Iterable[str]) -> None:
        self._hints[table].update(job_ids)
        self._hinted.set()

    def _found(self, wait: _Wait, outcomes: Iterable[StoredOutcome]) -> None:
        for outcome in outcomes:
            if outcome.job_id in wait.missing:
                wait.missing.discard(outcome.job_id)
                wait.found.append(outcome)
        if not wait.missing and not wait.future.done():
            wait.future.set_result(None)

    async def _read(self) -> None:
        """Read rows that may have their outcome. A queue whose table can't be read does not delay the others."""
        async with asyncio.TaskGroup() as readers:
            while True:
                await self._hinted.wait()
                self._hinted.clear()
                for table in [table for table in self._hints if table not in self._reading]:
                    job_ids = self._hints.pop(table)
                    notified = self._notified & job_ids
                    self._notified -= job_ids
                    if wanted := [job_id for job_id in job_ids if job_id in self._waits]:
                        self._reading.add(table)
                        readers.create_task(self._read_table(table, wanted, notified))

    async def _read_table(self, table: QueueTable, wanted: Sequence[str], notified: set[str]) -> None:
        try:
            await self._read_rows_of(table, wanted, notified)
        except psycopg.Error:  # the enqueuer or the lease keeper reports it
            self._notified |= notified
            self._hint(table, wanted)
            await self._backoffs[table].sleep()
        else:
            self._backoffs.pop(table, None)
        finally:
            self._reading.discard(table)
            if table in self._hints:
                self._hinted.set()

    async def _read_rows_of(self, table: QueueTable, wanted: Sequence[str], notified: set[str]) -> None:
        async with self._pool.share(table.queue).connection() as connection:
            outcomes = await table.read(connection, wanted)
            rest = notified.intersection(wanted).difference(outcome.job_id for outcome in outcomes)
            if rest:  # the worker left them to signals
                outcomes += await stop_waiting(connection, table, rest)
        by_wait: dict[_Wait, list[StoredOutcome]] = defaultdict(list)
        for outcome in outcomes:
            wait = self._waits.get(outcome.job_id)
            if wait is not None:
                by_wait[wait].append(outcome)
        for wait, read in by_wait.items():
            self._found(wait, read)
        for job_id in rest:
            if (left := self._waits.get(job_id)) is not None:
                left.missing.discard(job_id)
                self._found(left, ())

    async def _poll(self) -> None:
        while True:
            await self._has_waits.wait()
            await asyncio.sleep(_POLL_LISTENING_SECONDS if self.listening else _POLL_NOT_LISTENING_SECONDS)
            for wait in set(self._waits.values()):
                self._hint(wait.table, wait.missing)

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            try:
                connection = await connect(
                    self._database, application_name="delegator inline", session_for="a process that listens"
                )
                try:
                    await self._hear(connection, backoff)
                finally:
                    await connection.close()
            except ConfigurationError as error:  # a pooler: the rows are polled
                _log.warning("listen_impossible", extra={"reason": str(error), "then": "poll the rows"})
                return
            except (DatabaseError, psycopg.Error) as error:
                if self.listening:
                    _log.warning("listen_lost", extra={"reason": first_line(error)})
                self.listening = False
                await backoff.sleep()

    async def _hear(self, connection: Connection, backoff: Backoff) -> None:
        lease_id = self._lease.lease_id
        await listen_for_outcomes(connection, lease_id)
        self.listening = True
        backoff.reset()
        while self._lease.lease_id == lease_id:
            async for notify in connection.notifies(timeout=5.0):
                for job_id in notify.payload.split("\n"):
                    wait = self._waits.get(job_id)
                    if wait is not None:
                        self._hints[wait.table].add(job_id)
                        self._notified.add(job_id)
                    else:
                        self._remember(job_id)
                self._hinted.set()

    def _remember(self, job_id: str) -> None:
        """Keep a notification that comes before its caller waits. A job may end before its INSERT has returned."""
        self._early_notifications[job_id] = None
        if len(self._early_notifications) > _MOST_EARLY_NOTIFICATIONS:
            del self._early_notifications[next(iter(self._early_notifications))]

    async def _delete_read(self) -> None:
        """Delete rows that were read. A queue whose table is locked does not delay the others."""
        pause = min(1.0, self._result_ttl_seconds / 4 + 0.05)
        due: dict[QueueTable, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        async with asyncio.TaskGroup() as deletions:
            while True:
                began = time.monotonic()
                await asyncio.sleep(pause)
                self._awake_seconds += min(time.monotonic() - began, pause * 2)
                ttl_seconds = self._result_ttl_seconds * (
                    _LONGER_TTL_FACTOR if self._awake_seconds < self._longer_ttl_until_seconds else 1
                )
                while self._read_rows and self._read_rows[0][0] + ttl_seconds <= self._awake_seconds:
                    _, table, waiter_id, job_ids = self._read_rows.popleft()
                    due[table][waiter_id].extend(job_ids)
                for table in [table for table in due if table not in self._deleting]:
                    self._deleting.add(table)
                    deletions.create_task(self._delete_rows_of(table, due.pop(table)))

    async def _delete_rows_of(self, table: QueueTable, by_waiter: Mapping[int, list[str]]) -> None:
        try:
            for waiter_id, job_ids in by_waiter.items():
                try:
                    async with self._pool.share(table.queue).connection() as connection:
                        await table.delete_read(connection, job_ids, waiter_id)
                except psycopg.Error as error:
                    # The sweeper deletes them after DELEGATOR_RESULT_RETENTION.
                    _log.warning("completed_rows_kept", extra={"rows": len(job_ids), "reason": first_line(error)})
        finally:
            self._deleting.discard(table)


async def stop_waiting(connection: Connection, table: QueueTable, job_ids: Iterable[str]) -> list[StoredOutcome]:
    """Clear `waiter_id` in rows that have no outcome, and return the outcomes of the others.

    When this returns, the outcome of every row that was cleared will be signalled.

    Args:
        connection: where to.
        table: the queue's table.
        job_ids: the rows.
    """
    return (await _release(connection, table, job_ids, None)).found


class TakenOver(NamedTuple):
    """What happened to rows that named another enqueuer."""

    adopted: set[str]
    """Rows that name the successor now. Some may be completed."""
    found: list[StoredOutcome]
    """Outcomes of completed rows that the successor does not wait for. Unfinished ones will be signalled."""
    gone: set[str]
    """Ids without a row: they were deleted in the meantime."""


async def take_over(
    connection: Connection, table: QueueTable, job_ids: set[str], waiting: set[str], waiter_id: int
) -> TakenOver:
    """Take over rows from an enqueuer that died or is paused. If it wakes up, it can't delete them any more.

    Args:
        connection: where to.
        table: the queue's table.
        job_ids: the rows.
        waiting: the rows that the successor waits for.
        waiter_id: the successor's lease.
    """
    adopted: set[str] = set()
    if job_ids & waiting:
        adopted = await table.adopt(connection, sorted(job_ids & waiting), waiter_id)
    return (await _release(connection, table, job_ids - adopted, waiter_id))._replace(adopted=adopted)


async def _release(
    connection: Connection, table: QueueTable, job_ids: Iterable[str], successor: int | None
) -> TakenOver:
    found: list[StoredOutcome] = []
    gone: set[str] = set()
    rest = set(job_ids)
    while rest:
        rest -= await table.release_waiter(connection, sorted(rest))
        if rest:
            # Each statement has a new snapshot. A row that was republished during the release is seen here and still
            # names its waiter. `unfinished` comes first, because an outcome may be stored between the two statements.
            unfinished = await table.unfinished(connection, sorted(rest))
            if successor is None:
                outcomes = await table.read(connection, sorted(rest))
            else:
                outcomes = await table.take_over(connection, sorted(rest), successor)
            found += outcomes
            completed = {outcome.job_id for outcome in outcomes}
            gone |= rest - unfinished - completed
            rest = unfinished - completed
    return TakenOver(set(), found, gone)
