"""Keeps one queue's WAL streaming: connects, mends the slot, streams, and begins again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import psycopg

from delegator.errors import ConfigurationError, DatabaseError, DelegatorError, SchemaError, first_line
from delegator.postgres import replication
from delegator.postgres.connections import Connection, DatabaseAddress
from delegator.postgres.replication import Slot
from delegator.relay.copy_stream import CopyStream
from delegator.relay.ingest import Ingest
from delegator.relay.options import Feed, RelayOptions
from delegator.relay.source import History, Source, check_published, find_slot, inspect
from delegator.relay.state import RelayState
from delegator.relay.store import Budget
from delegator.runtime.backoff import Backoff
from delegator.runtime.cancellation import run_apart
from delegator.runtime.exception_groups import first_error, unwrapped
from delegator.runtime.logs import place_of

_UNUSABLE: Final = (SchemaError, psycopg.errors.UndefinedObject)
"""The server decodes each row with the publication of the time when the row was written. So these errors stay when the
publication is mended, until the slot is made again."""
_WATCH: Final = 2.0
"""Seconds between two looks at a server from which nothing is read."""
_SLOT_SECONDS: Final = 1.0
"""How long the creation of a slot may take before the relay says what it waits for."""
_STREAK: Final = 10.0
"""Seconds of streaming after which the next failure is treated as the first."""

_log = logging.getLogger(__name__)


class Follower:
    """Follows the WAL for one queue for as long as it runs, whatever happens to the other queues."""

    def __init__(self, options: RelayOptions, feed: Feed, ingest: Ingest, budget: Budget, relay: RelayState) -> None:
        """Prepare.

        Args:
            options: of the relay.
            feed: the queue's table, publication and slot.
            ingest: takes what is read.
            budget: bounds what is read.
            relay: is told how the stream fares.
        """
        self._options = options
        self._feed = feed
        self._ingest = ingest
        self._budget = budget
        self._relay = relay
        self._state = relay.streams[feed.table]
        self._history: History | None = None
        self._walsender: int | None = None
        self._gap_until: datetime | None = None
        self._knows_slot = False
        self._relieved = 0
        self._inspected = False
        self._slot_unusable = False
        self.streaming = asyncio.Event()
        """Set while the WAL is streamed."""

    async def check(self) -> None:
        """Check that the queue can be streamed as the database is.

        Raises:
            ConfigurationError: it can't.
            DatabaseError: the server can't be reached.
            psycopg.Error: the server can't answer for now.
        """
        async with self._connected(replication.connect_replication) as connection:
            await inspect(connection, self._feed)
            await find_slot(connection, self._feed)
        self._inspected = True

    async def run(self) -> None:
        """Stream until cancelled; outages are retried.

        Raises:
            ConfigurationError: the queue can't be streamed as the database is, and never could since the start.
            DatabaseError: PostgreSQL could not be reached for `start_timeout` since the start.
        """
        backoff = Backoff(longest=timedelta(seconds=self._options.backoff_cap))
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._options.start_timeout
        while True:
            began = loop.time()
            try:
                await run_apart(self._session())
            except Exception as error:  # whatever the server answers, the stream goes on
                if not self._inspected and (
                    isinstance(error, ConfigurationError)
                    or (isinstance(error, DatabaseError) and loop.time() >= give_up_at)
                ):
                    raise
                self._lost(error)
            if loop.time() - began > _STREAK:
                backoff.reset()
            await backoff.sleep()

    def _lost(self, error: Exception) -> None:
        if isinstance(error, psycopg.errors.ObjectInUse):
            reason = f"slot {self._feed.slot} is held by another process"
        elif isinstance(error, psycopg.errors.ConfigurationLimitExceeded):
            reason = f"no room for slot {self._feed.slot}: raise max_replication_slots, each queue needs one"
        elif isinstance(error, DelegatorError):
            reason = str(error)
        elif isinstance(error, (psycopg.Error, OSError)):
            reason = first_line(error) or type(error).__name__
        else:
            reason = f"{type(error).__name__} at {place_of(error)}"
        if self._state.problem is None:
            _log.warning("relay_stream_lost", extra={"stream": self._feed.table, "reason": reason})
        self._relay.lost(self._feed.table, reason)

    async def _session(self) -> None:
        if self._relay.relieved > self._relieved:
            self._relieved = self._relay.relieved
            self._start_over()
        async with self._connected(replication.connect_replication) as connection:
            source, history = await inspect(connection, self._feed)
            known = self._state.confirmed
            is_new = self._history is not None and history != self._history
            if is_new:
                _log.warning("relay_history_changed", extra={"stream": self._feed.table})
                if self._history is not None and history.system_id != self._history.system_id:
                    known = 0
                self._ingest.new_history()
                self._state.confirmed = 0
            self._history = history
            await self._mend_slot(connection, known if is_new else None)
            self._knows_slot = True
            self._inspected = True
            with contextlib.closing(
                CopyStream(connection, self._options, self._feed, self._ingest, self._budget)
            ) as copy:
                await copy.start()
                self._walsender = connection.pgconn.backend_pid
                await self._check_slot_not_moved()
                await self._stream(copy, source)

    async def _stream(self, copy: CopyStream, source: Source) -> None:
        self._ingest.connected(source, self._state.confirmed)
        self._state.streaming(copy)
        self._relay.restored(self._feed.table)
        self.streaming.set()
        feed = self._feed
        extra = {"stream": feed.table, "slot": feed.slot, "publication": feed.publication}
        _log.info("relay_streaming", extra=extra)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(copy.run(), name="relay-copy")
                tasks.create_task(self._watch(copy, source), name="relay-watch")
                if self._gap_until is not None:
                    tasks.create_task(self._fill_gap(self._gap_until), name="relay-republish")
        except BaseExceptionGroup as group:
            self._slot_unusable = group.subgroup(_UNUSABLE) is not None
            raise first_error(group) from None
        except asyncio.CancelledError:
            await copy.finish()
            raise
        finally:
            self._state.ended()
            self.streaming.clear()

    async def _watch(self, copy: CopyStream, source: Source) -> None:
        """End the session when the server stops while nothing is read, and when the table is not published any more.

        A walsender that can't send keeps a server that shuts down from doing so, and the relay does not hear of it. A
        walsender whose publication or table was dropped has nothing to send, and says nothing.

        Raises:
            DatabaseError: the server takes no connections.
            SchemaError: the table or its publication is missing, or is not what is declared.
        """
        interval = self._options.inspect_interval
        loop = asyncio.get_running_loop()
        inspect_at = loop.time() + interval
        while True:
            await asyncio.sleep(min(_WATCH, interval))
            is_due = loop.time() >= inspect_at
            if copy.stalled or is_due:
                async with self._connected(replication.connect_beside) as connection:
                    if is_due:
                        await check_published(connection, self._feed, source.database)
                        inspect_at = loop.time() + interval

    async def _create_slot(self, connection: Connection) -> datetime:
        """Create the slot. PostgreSQL waits until each transaction has ended that began before, in any database."""
        with unwrapped():
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._say_who_blocks(connection.pgconn.backend_pid), name="relay-slot")
                moment = await replication.create_slot(connection, self._feed.slot)
                watch.cancel()
        return moment

    async def _say_who_blocks(self, pid: int) -> None:
        said: str | None = None
        while True:
            await asyncio.sleep(_SLOT_SECONDS)
            with contextlib.suppress(DatabaseError, psycopg.Error):
                async with self._connected(replication.connect_beside) as connection:
                    blocker = await replication.blocker(connection, pid)
                if blocker is not None:
                    reason = f"the creation of slot {self._feed.slot} waits for {blocker}"
                    if reason != said:
                        _log.warning("relay_slot_waits", extra={"stream": self._feed.table, "reason": reason})
                        said = reason
                    self._relay.lost(self._feed.table, reason)

    def _start_over(self) -> None:
        """Forget what was read: another relay has streamed since, and it alone knows what is acknowledged."""
        self._ingest.start_over()
        self._state.confirmed = 0
        self._history = None
        self._gap_until = None
        self._knows_slot = False

    async def _mend_slot(self, connection: Connection, before: int | None) -> None:
        """Make sure that there is a slot that continues at the relay's position; else prepare to fill the gap.

        Args:
            connection: a replication connection.
            before: the confirmed position on another server, or before the server's history changed; None: it is the
                same server.
        """
        feed, state = self._feed, self._state
        slot = await find_slot(connection, feed)
        if slot is not None and slot.active_pid is not None:
            await self._free(connection, slot, slot.active_pid)
        if slot is None:
            reason = "the slot was dropped" if self._knows_slot else "the slot did not exist"
            self._gap_until = await self._create_slot(connection)
        elif slot.lost or self._slot_unusable:
            reason = "the slot was invalidated" if slot.lost else "the slot holds rows from before the publication"
            await replication.drop_slot(connection, feed.slot)
            self._gap_until = await self._create_slot(connection)
        elif before is not None and not (slot.synced and slot.confirmed <= before):
            reason = "the server is another one, and its slot is no copy"
            self._gap_until = await replication.clock(connection)
        elif self._knows_slot and before is None and slot.confirmed > state.confirmed:
            reason = "the slot was moved or created again by another process"
            self._gap_until = await replication.clock(connection)
        else:
            state.confirmed = max(state.confirmed, slot.confirmed)
            if slot.failover is False:
                await replication.keep_in_failover(connection, feed.slot)
            return
        self._slot_unusable = False
        is_loss = self._knows_slot or slot is not None
        state.slot_recreated += is_loss
        level = logging.WARNING if is_loss else logging.INFO
        extra = {"slot": feed.slot, "reason": reason}
        if slot is not None and slot.lost:
            level = logging.ERROR
            extra["fix"] = "raise max_slot_wal_keep_size, or look for what stopped the relay or the workers"
        _log.log(level, "relay_slot_new", extra=extra)
        fresh = await find_slot(connection, feed)
        state.confirmed = fresh.confirmed if fresh is not None else 0
        self._ingest.new_slot(state.confirmed)

    async def _free(self, connection: Connection, slot: Slot, walsender: int) -> None:
        """End the WAL sender that holds the slot for this relay's last session, or for a relay that lost the locks."""
        if slot.read_by_relay or walsender == self._walsender:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                await replication.terminate(connection, walsender)

    async def _check_slot_not_moved(self) -> None:
        """Check that nobody moved the slot between the look at it and the moment when the relay took it.

        Raises:
            DatabaseError: somebody did; the next session finds that out, and fills the gap.
        """
        async with self._connected(replication.connect_beside) as connection:
            slot = await find_slot(connection, self._feed)
        if slot is None or slot.confirmed > self._state.confirmed:
            raise DatabaseError(f"slot {self._feed.slot} was moved while the relay took it")

    async def _fill_gap(self, before: datetime) -> None:
        """Republish the jobs that a new slot does not hold, while it is streamed already.

        A relay that dies before the end of this leaves a sound slot. The sweeper republishes the rest: it looks at
        the delivery watermark, which workers move when they find the stream empty.
        """
        batch, rows, total = self._options.republish_batch, self._options.republish_batch, 0
        async with self._connected(replication.connect_beside) as connection:
            try:
                while rows >= batch and await replication.has_unclaimed(connection, self._feed.table, before):
                    rows = await replication.republish_unclaimed(connection, self._feed.table, before, batch)
                    total += rows
                    self._state.republished += rows
            except psycopg.errors.InsufficientPrivilege:
                extra = {"stream": self._feed.table, "left_to": "delegator serve"}
                _log.warning("relay_may_not_republish", extra=extra)
                self._gap_until = None
                return
        self._gap_until = None
        level = logging.WARNING if total else logging.INFO
        _log.log(level, "relay_gap_republished", extra={"stream": self._feed.table, "rows": total})

    @contextlib.asynccontextmanager
    async def _connected(
        self, connect: Callable[[str | DatabaseAddress], Awaitable[Connection]]
    ) -> AsyncIterator[Connection]:
        timeout = self._options.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                connection = await connect(self._options.database_url)
        except TimeoutError:
            raise DatabaseError(f"PostgreSQL does not answer within {timeout:g} s (DELEGATOR_DATABASE_URL)") from None
        try:
            yield connection
        finally:
            # Closing never waits for the server: libpq only sends a farewell.
            await connection.close()
