"""The dispatcher of the outbox: sends the operations that applications have committed to Temporal, each in its order.

It may wait for Temporal. The sweeper does not wait for the dispatcher.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import psycopg
from temporalio.client import Client

from delegator.completion.operations import Answer, Operations, answer_in
from delegator.config import Settings
from delegator.errors import DatabaseError, first_line
from delegator.maintenance.metrics import OutboxMetrics
from delegator.postgres import outbox
from delegator.postgres.connections import Connection, DatabaseAddress, Pool, connect
from delegator.postgres.database_watch import DatabaseWatch, until_taken
from delegator.postgres.dead_letters import Reason
from delegator.postgres.notifications import listen_for_outbox
from delegator.postgres.outbox import Operation
from delegator.runtime.backoff import Backoff
from delegator.runtime.batching import Batcher
from delegator.runtime.connection_state import ConnectionState
from delegator.runtime.exception_groups import unwrapped
from delegator.wire.rows import row_problem

_log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_ROWS: Final = 500
_MOST_WORKFLOWS: Final = 200
_MOST_BYTES: Final = 16 * 1024 * 1024
_PARALLEL: Final = 32
_FRESH_SECONDS: Final = 2.0
"""How old what was read may be. A process that was paused may not be the leader any more, so it reads again."""
_MEASURED_EVERY: Final = timedelta(seconds=5)
_FIRST_DELAY: Final = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class OutboxOptions:
    """How the dispatcher looks for operations, and when it gives one up."""

    interval: timedelta = timedelta(seconds=1)
    """Time between two looks at the table, unless a notification wakes the dispatcher."""
    listens: bool = True
    """Whether applications notify the dispatcher."""
    not_found_for: timedelta = timedelta(seconds=60)
    """How long an operation is tried whose workflow or namespace Temporal does not know."""
    longest_delay: timedelta = timedelta(seconds=5)
    """Longest time between two attempts of the same operation."""


def outbox_options(settings: Settings) -> OutboxOptions:
    """Return the options that the settings give."""
    if settings.outbox_notify:
        return OutboxOptions(not_found_for=settings.outbox_not_found_for)
    interval = timedelta(milliseconds=100)
    return OutboxOptions(interval=interval, listens=False, not_found_for=settings.outbox_not_found_for)


class OutboxDispatcher:
    """Sends operations while this process is the leader. Every step may be repeated or interrupted."""

    def __init__(
        self,
        *,
        address: DatabaseAddress,
        pool: Pool,
        database: DatabaseWatch,
        listener: DatabaseWatch,
        client: Client,
        temporal: ConnectionState,
        identity: str,
        metrics: OutboxMetrics,
        options: OutboxOptions | None = None,
    ) -> None:
        """Prepare the dispatcher.

        Args:
            address: of the database, to listen there.
            pool: connections.
            database: gets each success and each error of these connections.
            listener: the same of the connection that listens.
            client: Temporal's client.
            temporal: gets the state of the connection to Temporal.
            identity: shown in history.
            metrics: this process's series.
            options: how it looks and when it gives up.
        """
        self._address = address
        self._pool = pool
        self._database = database
        self._listener = listener
        self._operations = Operations(client, identity=identity)
        self._temporal = temporal
        self._metrics = metrics
        self._options = options or OutboxOptions()
        self._backoff = Backoff(longest=timedelta(seconds=2))
        self._is_away = False
        self._busy: dict[str, int] = {}
        """The workflows whose operations are being sent, with the bytes of these operations."""
        self._passed: set[str] = set()
        """Busy workflows of which newer operations may have been passed over."""
        self._woken = asyncio.Event()
        self._freed = asyncio.Event()
        self._slots = asyncio.Semaphore(_PARALLEL)

    async def run(self) -> None:
        """Send operations until cancelled."""
        try:
            with unwrapped():
                # When this ends, the group ends first. So nobody waits for a batch that can't be written.
                async with Batcher(self._delete, max_items=1_000) as done, asyncio.TaskGroup() as group:
                    if self._options.listens:
                        group.create_task(self._listen(), name="outbox-listener")
                    group.create_task(self._measure(), name="outbox-metrics")
                    await self._dispatch(group, done)
        finally:
            self._busy.clear()
            self._database.ended()
            self._listener.ended()

    async def _dispatch(self, group: asyncio.TaskGroup, done: Batcher[int, None]) -> None:
        while True:
            self._woken.clear()
            while len(self._busy) >= _MOST_WORKFLOWS or sum(self._busy.values()) >= _MOST_BYTES:
                self._freed.clear()
                await self._freed.wait()
            # While Temporal is away, one operation shows whether it is back.
            limit = 1 if self._is_away else _MOST_ROWS
            read_at = time.monotonic()
            try:
                found = await self._read(limit)
            except Exception as error:
                await self._database.failed(error)
                continue
            self._database.works()
            chains: dict[str, list[Operation]] = defaultdict(list)
            for row in found:
                chains[row.workflow_id].append(row)
            for workflow_id, rows in chains.items():
                self._busy[workflow_id] = sum(row.size_bytes for row in rows)
                group.create_task(self._send_all(workflow_id, rows, read_at, done), name="outbox-operations")
            if len(found) < limit or self._is_away:
                try:
                    async with asyncio.timeout(self._options.interval.total_seconds()):
                        await self._woken.wait()
                except TimeoutError:
                    pass
            if self._is_away:
                await self._backoff.sleep()

    async def _read(self, limit: int) -> list[Operation]:
        self._passed.update(self._busy)
        async with self._pool.connection() as connection:
            return await outbox.due(connection, self._busy, limit=limit, max_bytes=_MOST_BYTES)

    async def _send_all(
        self, workflow_id: str, rows: Sequence[Operation], read_at: float, done: Batcher[int, None]
    ) -> None:
        """Send the operations on one workflow, one after the other. Each has ended before the next is sent."""
        self._passed.discard(workflow_id)
        try:
            for row in rows:
                async with self._slots:
                    if time.monotonic() - read_at > _FRESH_SECONDS:
                        break
                    if not await self._attempt(row, done):
                        break
            else:
                rows = ()
        finally:
            del self._busy[workflow_id]
            self._freed.set()
            if rows or workflow_id in self._passed:
                self._passed.discard(workflow_id)
                self._woken.set()

    async def _attempt(self, row: Operation, done: Batcher[int, None]) -> bool:
        """Send an operation. Return whether the next one may be sent."""
        if (problem := row_problem(row.format_version)) is not None:
            _log.error("outbox_row_too_new", extra={"seq": row.seq, "reason": problem})
            await self._back_off(row, "format_version", is_refusal=False)
            return False
        try:
            with self._temporal.timed(f"outbox {row.operation}"):
                await self._operations.carry_out(row)
        except Exception as error:
            return await self._failed(row, error)
        self._answered()
        await done.submit([row.seq])
        self._metrics.sent.labels(row.operation).inc()
        return True

    def _answered(self) -> None:
        self._temporal.restored()
        self._backoff.reset()
        if self._is_away:
            self._is_away = False
            self._woken.set()

    async def _failed(self, row: Operation, error: Exception) -> bool:
        answer = answer_in(error)
        status = getattr(getattr(error, "status", None), "name", None) or type(error).__name__
        if answer is Answer.AWAY:
            self._temporal.lost(first_line(error))
            self._is_away = True
            return False
        self._answered()
        limit = self._options.not_found_for.total_seconds()
        if answer is Answer.OTHER or (answer is Answer.NOT_YET and (row.refused_seconds or 0.0) < limit):
            self._metrics.retried.labels(row.operation, status).inc()
            await self._back_off(row, status, is_refusal=answer is Answer.NOT_YET)
            return False
        reason = {Answer.EXISTS: Reason.ALREADY_EXISTS, Answer.NOT_YET: Reason.NOT_FOUND}.get(answer, Reason.REFUSED)
        if await self._write(lambda db: outbox.give_up(db, row.seq, reason, status)):
            self._metrics.dead_letters.labels(row.operation, reason.value).inc()
            _log.error(
                "outbox_operation_given_up",
                extra={
                    "operation": row.operation,
                    "workflow_id": row.workflow_id,
                    "reason": reason.value,
                    "status": status,
                    "seq": row.seq,
                },
            )
        return True

    async def _back_off(self, row: Operation, status: str, *, is_refusal: bool) -> None:
        delay = min(_FIRST_DELAY * 2 ** min(row.attempt, 20), self._options.longest_delay)
        await self._write(lambda db: outbox.back_off(db, row.seq, delay, status, is_refusal=is_refusal))
        asyncio.get_running_loop().call_later(delay.total_seconds(), self._woken.set)

    async def _delete(self, seqs: Sequence[int]) -> Sequence[None]:
        await self._write(lambda db: outbox.delete(db, seqs))
        return [None] * len(seqs)

    async def _write(self, statement: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a statement, and repeat it until the server takes it."""
        return await until_taken(self._pool, self._database, statement)

    async def _listen(self) -> None:
        while True:
            try:
                connection = await connect(
                    self._address, application_name="delegator outbox", session_for="the outbox's notifications"
                )
                async with connection:
                    await listen_for_outbox(connection)
                    self._listener.works()
                    self._woken.set()  # what was committed before it listened
                    async for _ in connection.notifies():
                        self._woken.set()
            except (psycopg.Error, DatabaseError) as error:
                await self._listener.failed(error)

    async def _measure(self) -> None:
        while True:
            try:
                async with self._pool.connection() as connection:
                    count, oldest = await outbox.waiting(connection)
            except psycopg.Error as error:
                await self._database.failed(error)
                continue
            self._metrics.waiting.set(count)
            self._metrics.oldest.set(oldest)
            await asyncio.sleep(_MEASURED_EVERY.total_seconds())
