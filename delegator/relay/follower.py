"""Keeps the WAL streaming: connects, mends the slot, streams, and begins again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from delegator.errors import ConfigurationError, DatabaseError, DelegatorError
from delegator.postgres.queue_republish import published_before_statement
from delegator.relay import catalog
from delegator.relay.catalog import Connection, History
from delegator.relay.ingest import Ingest
from delegator.relay.options import Feed, RelayOptions
from delegator.relay.render import Source
from delegator.relay.replication import SESSION, CopyStream
from delegator.relay.state import RelayState
from delegator.relay.store import Budget
from delegator.runtime.backoff import Backoff

_WATCH: Final = 2.0
"""Seconds between two looks at a server from which nothing is read."""
_STREAK: Final = 10.0
"""Seconds of streaming after which the next failure is treated as the first."""
_NO_REPLICATION: Final = ("permission denied to start WAL sender", "must be superuser or replication role")
_REFUSED: Final = ("password authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")

log = logging.getLogger(__name__)


class Follower:
    """Follows the WAL for one queue for as long as it runs, whatever becomes of the other queues."""

    def __init__(self, options: RelayOptions, feed: Feed, ingest: Ingest, budget: Budget, relay: RelayState) -> None:
        """Prepare.

        Args:
            options: of the relay.
            feed: the queue's table, publication and slot.
            ingest: takes what is read.
            budget: bounds it.
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
        self._sound = False
        self.streaming = asyncio.Event()

    async def run(self) -> None:
        """Stream until cancelled; outages are retried.

        Raises:
            ConfigurationError: the database can't be streamed from as it is, and never could since we started.
        """
        backoff = Backoff(longest=timedelta(seconds=self._options.backoff_cap))
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._session()
            except (psycopg.Error, OSError, DelegatorError) as error:
                if isinstance(error, ConfigurationError) and not self._sound:
                    raise
                self._lost(error)
            if loop.time() - began > _STREAK:
                backoff.reset()
            await backoff.sleep()

    def _lost(self, error: Exception) -> None:
        if isinstance(error, psycopg.errors.ObjectInUse):
            reason = f"slot {self._feed.slot} is held by another process"
        elif isinstance(error, psycopg.errors.ConfigurationLimitExceeded):
            reason = f"no room for slot {self._feed.slot}: raise max_replication_slots, one for each queue is needed"
        elif isinstance(error, DelegatorError):
            reason = str(error)
        else:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if self._state.problem is None:
            log.warning("relay_stream_lost", extra={"stream": self._feed.table, "reason": reason})
        self._relay.lost(self._feed.table, reason)

    async def _session(self) -> None:
        async with self._connect(replication=True) as connection:
            source, history = await catalog.inspect(connection, self._feed)
            if self._history is not None and history != self._history:
                log.warning("relay_history_changed", extra={"stream": self._feed.table})
                self._ingest.new_history()
                self._state.confirmed = 0
            self._history = history
            await self._mend_slot(connection)
            self._sound = True
            with contextlib.closing(
                CopyStream(connection, self._options, self._feed, self._ingest, self._budget)
            ) as copy:
                await copy.start()
                self._walsender = connection.pgconn.backend_pid
                await self._see_that_it_stayed()
                await self._stream(copy, source)

    async def _stream(self, copy: CopyStream, source: Source) -> None:
        self._ingest.connected(source, self._state.confirmed)
        self._state.streaming(copy)
        self._relay.restored(self._feed.table)
        self.streaming.set()
        feed = self._feed
        extra = {"stream": feed.table, "slot": feed.slot, "publication": feed.publication}
        log.info("relay_streaming", extra=extra)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(copy.run(), name="relay-copy")
                tasks.create_task(self._watch(copy), name="relay-watch")
                if self._gap_until is not None:
                    tasks.create_task(self._fill_gap(self._gap_until), name="relay-republish")
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        except asyncio.CancelledError:
            await copy.finish()
            raise
        finally:
            self._state.ended()
            self.streaming.clear()

    async def _watch(self, copy: CopyStream) -> None:
        """End the session when the server stops while nothing is read.

        A walsender that can't send would keep a server that shuts down from doing so, and we would not hear of it.

        Raises:
            DatabaseError: the server takes no connections.
        """
        while True:
            await asyncio.sleep(_WATCH)
            if copy.stalled:
                async with self._connect():
                    pass

    async def _mend_slot(self, connection: Connection) -> None:
        """Make sure that there is a slot that continues where we were; else have the gap filled."""
        feed, state = self._feed, self._state
        slot = await catalog.find_slot(connection, feed)
        if slot is not None and slot.active_pid is not None and slot.active_pid == self._walsender:
            await catalog.terminate(connection, slot.active_pid)
        if slot is not None and not slot.lost and (not state.started or slot.confirmed <= state.confirmed):
            state.confirmed = max(state.confirmed, slot.confirmed)
            return
        if slot is None:
            reason = "the slot was dropped" if state.started else "the slot did not exist"
            self._gap_until = await catalog.create_slot(connection, feed)
        elif slot.lost:
            reason = "the slot was invalidated"
            await catalog.drop_slot(connection, feed)
            self._gap_until = await catalog.create_slot(connection, feed)
        else:
            reason = "the slot was moved or made anew by another process"
            self._gap_until = await catalog.now(connection)
        state.slot_recreated += state.started or slot is not None
        log.warning("relay_slot_new", extra={"slot": feed.slot, "reason": reason})
        fresh = await catalog.find_slot(connection, feed)
        state.confirmed = fresh.confirmed if fresh is not None else 0
        self._ingest.new_slot(state.confirmed)

    async def _see_that_it_stayed(self) -> None:
        """See that nobody moved the slot between the look at it and its being ours, when it can't be moved any more.

        Raises:
            DatabaseError: somebody did; the next session finds it so, and has the gap filled.
        """
        async with self._connect() as connection:
            slot = await catalog.find_slot(connection, self._feed)
        if slot is None or slot.confirmed > self._state.confirmed:
            raise DatabaseError(f"slot {self._feed.slot} was moved while it was being taken")

    async def _fill_gap(self, before: datetime) -> None:
        """Republish what a new slot does not hold, while it is streamed already.

        A relay that dies before the end of this leaves a sound slot, and the rest of the gap to the sweeper: workers
        that find the stream empty tell it so.
        """
        statement = published_before_statement(self._feed.table)
        parameters = {"before": before, "limit": self._options.republish_batch}
        rows, total = self._options.republish_batch, 0
        async with self._connect() as connection:
            try:
                while rows >= self._options.republish_batch:
                    rows = (await connection.execute(statement, parameters)).rowcount
                    total += rows
                    self._state.republished += rows
            except psycopg.errors.InsufficientPrivilege:
                log.error("relay_may_not_republish", extra={"stream": self._feed.table, "left_to": "the sweeper"})
        self._gap_until = None
        log.warning("relay_gap_republished", extra={"stream": self._feed.table, "rows": total})

    @contextlib.asynccontextmanager
    async def _connect(self, *, replication: bool = False) -> AsyncIterator[Connection]:
        parameters: dict[str, Any] = {"replication": "database"} if replication else {}
        timeout = self._options.connect_timeout
        try:
            async with asyncio.timeout(timeout + 1):
                connection = await psycopg.AsyncConnection.connect(
                    self._options.database_url,
                    autocommit=True,
                    connect_timeout=max(2, round(timeout)),
                    application_name="delegator-relay",
                    keepalives_idle=10,
                    keepalives_interval=5,
                    keepalives_count=3,
                    tcp_user_timeout=15_000,
                    cursor_factory=psycopg.AsyncClientCursor,
                    **parameters,
                )
        except psycopg.ProgrammingError:
            raise ConfigurationError("DELEGATOR_DATABASE_URL is not a libpq connection string or URL") from None
        except psycopg.OperationalError as error:
            reason = str(error).strip().partition("\n")[0]
            if any(text in reason for text in _NO_REPLICATION):
                raise ConfigurationError(
                    "the role may not stream the WAL: ALTER ROLE ... REPLICATION, or name another in --database-url"
                ) from None
            if any(text in reason for text in _REFUSED):
                raise ConfigurationError(
                    f"PostgreSQL refuses us: {reason}: check DELEGATOR_DATABASE_URL or --database-url"
                ) from None
            raise DatabaseError(reason) from None
        except TimeoutError:
            raise DatabaseError(f"PostgreSQL does not answer within {timeout:g} s") from None
        try:
            await connection.execute(SESSION)
            yield connection
        finally:
            # Closing never waits for the server: libpq only sends a farewell.
            await connection.close()
