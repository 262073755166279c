"""The connections of a server: their number and their times are bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web
from aiohttp.typedefs import Middleware

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """What a server grants its clients. What a request's body may have is the application's `client_max_size`."""

    connections: int = 1_000
    """Most connections at a time. When there is one more, the one that has been without a request for longest is
    closed. If all of them have requests, the next one waits until the server accepts it."""
    young_seconds: float = 0.5
    """A connection that has been without a request for less than this is not closed for another: its request may be
    under way."""
    header_seconds: float = 10.0
    """From the connection, or from the first byte of a further request, to the end of the headers. TLS has as long."""
    body_seconds: float = 30.0
    """From the end of the headers to the end of the body."""
    idle_seconds: float = 75.0
    """From the end of an answer to the next request."""
    send_seconds: float = 30.0
    """How long a client may take nothing of an answer that it has not read yet."""


class Connections:
    """All connections of a server."""

    def __init__(self, server: str, limits: ServingLimits, most: int) -> None:
        """Begin with none.

        Args:
            server: its name in the log.
            limits: what each connection is granted.
            most: how many there may be.
        """
        self.limits: Final = limits
        self._server = server
        self._most = most
        self._open = 0
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Connection, float] = {}
        """Connections without a request and since when, the longest idle first."""
        self._by_handler: dict[object, Connection] = {}
        self._changed = asyncio.Event()
        self._full = False

    async def room(self) -> None:
        """Wait until one more connection may be accepted."""
        if self._open >= self._most and not self._full:
            self._full = True
            _log.warning("connections_full", extra={"server": self._server, "connections": self._most})
        while self._open >= self._most:
            self._changed.clear()
            try:
                async with asyncio.timeout(self.evict()):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def evict(self) -> float | None:
        """Close the connection that has been without a request for longest.

        Returns:
            After how many seconds to ask again, because all of them are too young; None: one is closed, or all of them
            have requests.
        """
        for connection, since in self._idle.items():
            wait = since + self.limits.young_seconds - self._loop.time()
            if wait > 0:
                return wait
            connection.abort()
            break
        return None

    def accepted(self) -> None:
        """Count a connection; `closed` ends it."""
        self._open += 1

    def closed(self) -> None:
        """A connection has ended."""
        self._open -= 1
        self._changed.set()
        if self._full and self._open <= self._most * 3 // 4:
            self._full = False
            _log.info("connections_available", extra={"server": self._server, "connections": self._open})

    def protocol(self, handler: web.RequestHandler) -> Connection:
        """Return what the transport of a new connection talks to."""
        connection = Connection(self, handler)
        self._by_handler[handler] = connection
        return connection

    def forget(self, connection: Connection, handler: web.RequestHandler) -> None:
        """A connection was lost."""
        self._by_handler.pop(handler, None)
        self._idle.pop(connection, None)

    def is_idle(self, connection: Connection) -> None:
        """A connection has no request from now on."""
        self._idle[connection] = self._loop.time()
        self._changed.set()

    def is_busy(self, connection: Connection) -> None:
        """A connection has a request, whose headers are complete."""
        self._idle.pop(connection, None)

    @property
    def middleware(self) -> Middleware:
        """What tells connections when a request begins and ends."""

        @web.middleware
        async def tell(request: web.Request, handler: _Handler) -> web.StreamResponse:
            connection = self._by_handler.get(request.protocol)
            if connection is None:
                return await handler(request)
            connection.request_began(request)
            try:
                return await handler(request)
            finally:
                connection.request_ended()

        return tell


class Connection(asyncio.Protocol):
    """One connection: passes everything on to aiohttp, and ends it when it takes too long."""

    def __init__(self, connections: Connections, handler: web.RequestHandler) -> None:
        self._connections = connections
        self._limits = connections.limits
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None
        self._requests = 0
        """Requests that are worked on; pipelining may bring the next one before the first has ended."""
        self._has_bytes = True
        """Whether a further request has begun to arrive. A new connection has as much time as one that has."""
        self._body_open = False

    @property
    def was_made(self) -> bool:
        """Whether a transport has it."""
        return self._transport is not None

    def never_made(self) -> None:
        """Forget it: no transport ever had it."""
        self._connections.forget(self, self._handler)
        self._connections.closed()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the headers of a request must come in time."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.is_idle(self)
        self._end_in(self._limits.header_seconds)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on. The first ones of a further request start its time."""
        if not self._has_bytes and not self._requests:
            self._has_bytes = True
            self._end_in(self._limits.header_seconds)
        self._handler.data_received(data)

    def eof_received(self) -> None:
        """Close: the client sends nothing more."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for timer in (self._deadline, self._send_deadline):
            if timer is not None:
                timer.cancel()
        self._connections.forget(self, self._handler)
        self._connections.closed()
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read; it must go on in time."""
        self._send_deadline = self._loop.call_later(self._limits.send_seconds, self.abort)
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._send_deadline is not None:
            self._send_deadline.cancel()
        self._handler.resume_writing()

    def request_began(self, request: web.Request) -> None:
        """The headers are complete, and the handler is about to be called."""
        self._requests += 1
        self._connections.is_busy(self)
        self._end_never()
        self._body_open = True
        request.content.on_eof(self._body_complete)
        if self._body_open:
            self._end_in(self._limits.body_seconds)

    def request_ended(self) -> None:
        """The handler has returned; its answer is about to be sent."""
        self._requests -= 1
        if self._requests == 0 and self._transport is not None and not self._transport.is_closing():
            self._has_bytes = False
            self._connections.is_idle(self)
            self._end_in(self._limits.idle_seconds)

    def abort(self) -> None:
        """End it now, with what was not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def _body_complete(self) -> None:
        self._body_open = False
        if self._requests:
            self._end_never()

    def _end_never(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_in(self, seconds: float) -> None:
        self._end_never()
        self._deadline = self._loop.call_later(seconds, self.abort)
