"""One replication connection that streams: copy-both through libpq, on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from struct import Struct
from typing import Final

import psycopg
from psycopg import pq

from delegator.errors import DatabaseError
from delegator.postgres.connections import Connection
from delegator.postgres.replication import start_command
from delegator.relay.ingest import Ingest
from delegator.relay.options import Feed, RelayOptions
from delegator.relay.store import Budget

_STATUS: Final = Struct(">cQQQqB")
_EPOCH_SECONDS: Final = 946_684_800
_BURST: Final = 512
"""Messages handled before the event loop gets its turn."""


class CopyStream:
    """Reads the walsender's messages into the store and reports what is acked.

    It stops reading while the store is full: the socket fills up and the walsender waits. Status updates go on, so
    that the server does not take the relay for dead.
    """

    def __init__(
        self, connection: Connection, options: RelayOptions, feed: Feed, ingest: Ingest, budget: Budget
    ) -> None:
        """Prepare.

        Args:
            connection: a replication connection; nobody else uses it from now on.
            options: of the relay.
            feed: the queue's publication and slot.
            ingest: takes what is read.
            budget: bounds what is read.
        """
        self.confirmed = 0
        """The last position that was reported as confirmed."""
        self.stalls = 0
        """How often the store was full."""
        self._connection = connection
        self._pgconn = connection.pgconn
        self._options = options
        self._feed = feed
        self._ingest = ingest
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._reading = False
        # libpq closes its socket when the connection is lost, before we could stop watching it.
        self._socket = os.dup(self._pgconn.socket)
        self._heard = self._loop.time()
        self._flushed = self._heard

    @property
    def stalled(self) -> bool:
        """The store is full, so nothing is read."""
        return not self._reading

    async def start(self) -> None:
        """Begin streaming from the slot's confirmed position.

        Raises:
            psycopg.Error: the server refuses, for one because another process holds the slot.
        """
        self._pgconn.send_query(start_command(self._connection, self._feed.slot, self._feed.publication))
        readable = asyncio.Event()
        self._loop.add_reader(self._socket, readable.set)
        try:
            self._pgconn.flush()
            while self._pgconn.is_busy():
                readable.clear()
                await readable.wait()
                self._pgconn.consume_input()
        finally:
            self._loop.remove_reader(self._socket)
        result = self._pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            raise self._refusal(result)

    async def run(self) -> None:
        """Stream until the connection ends.

        Raises:
            psycopg.Error: the server ended the stream.
            DatabaseError: the server fell silent.
            SchemaError: other columns are published than messages have a place for.
            WireError: the server's bytes do not follow the protocol.
        """
        self._resume()
        try:
            while True:
                await asyncio.wait([self._ended], timeout=self._options.status_interval)
                if self._ended.done():
                    self._ended.result()
                self._check_alive()
                self._send_status(ask=self._reading)
        finally:
            self._pause()
            self._budget.on_room = None
            if self._ended.done():
                self._ended.exception()

    def close(self) -> None:
        """Stop watching the connection."""
        self._pause()
        os.close(self._socket)

    async def finish(self, limit: float = 1.0) -> None:
        """Report the last position and end the stream in good order.

        Args:
            limit: seconds after which to give up.
        """
        with contextlib.suppress(psycopg.Error, TimeoutError):
            self._send_status(ask=False)
            self._pgconn.put_copy_end()
            async with asyncio.timeout(limit):
                while True:
                    self._pgconn.flush()
                    self._pgconn.consume_input()
                    size, _ = self._pgconn.get_copy_data(1)
                    if size < 0:
                        return
                    if size == 0:
                        await asyncio.sleep(0.01)

    def _resume(self) -> None:
        if self._reading or self._ended.done():
            return
        self._reading = True
        self._heard = self._loop.time()
        self._loop.add_reader(self._socket, self._readable)
        self._loop.call_soon(self._drain)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def _readable(self) -> None:
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            self._end(error)
            return
        self._heard = self._loop.time()
        self._drain()

    def _drain(self) -> None:
        if not self._reading:
            return
        get, handle, budget = self._pgconn.get_copy_data, self._ingest.handle, self._budget
        try:
            for _ in range(_BURST):
                if budget.full:
                    self._pause()
                    self.stalls += 1
                    budget.on_room = self._resume
                    break
                size, data = get(1)
                if size > 0:
                    if handle(bytes(data)):
                        self._send_status(ask=False)
                elif size == 0:
                    break
                else:
                    raise self._refusal(self._pgconn.get_result())
            else:
                self._loop.call_soon(self._drain)
        except Exception as error:
            self._end(error)
        self._ingest.flush()

    def _end(self, error: Exception) -> None:
        self._pause()
        if not self._ended.done():
            self._ended.set_exception(error)

    def _send_status(self, *, ask: bool) -> None:
        confirmed = self._ingest.progress.confirmed
        # A server that shuts down waits until the flush position has reached everything that its walsender sent. When
        # that position is not given (0), the received one counts: then unacked messages do not hold the server up.
        flushed = confirmed if confirmed != self.confirmed else 0
        self.confirmed = confirmed
        received = max(self._ingest.wal_end, confirmed)
        clock = int((time.time() - _EPOCH_SECONDS) * 1_000_000)
        self._pgconn.put_copy_data(_STATUS.pack(b"r", received, flushed, flushed, clock, ask))
        if not self._pgconn.flush():
            self._flushed = self._loop.time()

    def _check_alive(self) -> None:
        heard = self._heard if self._reading else self._flushed
        silent = self._loop.time() - heard
        if silent > self._options.silence_timeout:
            raise DatabaseError(f"PostgreSQL has said nothing for {silent:.0f} s")

    def _refusal(self, result: pq.abc.PGresult | None) -> psycopg.Error:
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            return psycopg.errors.error_from_result(result)
        return psycopg.OperationalError("the server ended the replication stream")
