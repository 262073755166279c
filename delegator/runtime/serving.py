"""Serves an aiohttp application within bounds, so that no client can use the process up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Final

from aiohttp import web

from delegator.runtime.connections import Connections, ServingLimits
from delegator.runtime.descriptors import KeptDescriptors, connections_allowed, is_exhaustion
from delegator.runtime.request_log import RequestLog

_log = logging.getLogger(__name__)
_BACKLOG: Final = 1024
_KEPT: Final = 4
"""Descriptors that each server keeps, to accept connections when the process has none left."""
_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.1


def listen(host: str, port: int, *, backlog: int = _BACKLOG) -> list[socket.socket]:
    """Listen on all addresses that a host name stands for.

    Args:
        host: name or address.
        port: TCP port; 0: a free one, of the first address only.
        backlog: most connections that wait to be accepted.

    Raises:
        OSError: the address can't be listened on; `server_tls.cannot_listen` says why.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((entry[0], str(entry[4][0])) for entry in found)
    with contextlib.ExitStack() as stack:
        listeners = []
        for family, address in list(addresses)[: None if port else 1]:
            listener = stack.enter_context(socket.create_server((address, port), family=family, backlog=backlog))
            listener.setblocking(False)
            listeners.append(listener)
        stack.pop_all()
    return listeners


@contextlib.asynccontextmanager
async def serving(
    app: web.Application,
    listeners: Sequence[socket.socket],
    *,
    name: str,
    limits: ServingLimits,
    tls: ssl.SSLContext | None = None,
    handler_cancellation: bool = False,
    shutdown_seconds: float = 2.0,
) -> AsyncIterator[None]:
    """Serve an application for the length of a block.

    Bodies of requests are not decompressed: a small compressed body may be a huge one.

    Args:
        app: the application; it is changed, so it is served once.
        listeners: sockets that listen and don't block. They are closed at the end.
        name: of the server, in the log.
        limits: what clients are granted. What a body may have is the application's `client_max_size`.
        tls: serve TLS with it.
        handler_cancellation: cancel the handler of a client that went away.
        shutdown_seconds: how long open requests may take at the end.
    """
    connections = Connections(name, limits, connections_allowed(limits.connections))
    app.middlewares.append(connections.middleware)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=handler_cancellation,
        shutdown_timeout=shutdown_seconds,
        auto_decompress=False,
        logger=RequestLog(name),
    )
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        acceptor = _Acceptor(runner.server, connections, name, tls)
        stack.push_async_callback(acceptor.stop)
        for listener in listeners:
            acceptor.start(listener)
        yield


class _Acceptor:
    """Accepts the connections of a server."""

    def __init__(self, server: web.Server, connections: Connections, name: str, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._connections = connections
        self._name = name
        self._tls = tls
        self._kept = KeptDescriptors(_KEPT)
        self._exhausted = False
        self._tasks: set[asyncio.Task[None]] = set()
        """The loops, and the connections that shake hands."""

    def start(self, listener: socket.socket) -> None:
        """Begin to accept the connections of a socket."""
        self._spawn(self._run(listener))

    async def stop(self) -> None:
        """Accept no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._kept.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"accept-{self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._connections.room()
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                if is_exhaustion(error):
                    await self._make_room(error)
                else:
                    # The client has gone away again, or the network has an error: accept(2) says to go on.
                    await asyncio.sleep(0)
                continue
            self._connections.accepted()
            self._back_to_normal()
            if self._tls is None:
                await self._begin(connection)
            else:
                # The next one is accepted while this one shakes hands.
                self._spawn(self._begin(connection))

    async def _begin(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        protocol = self._connections.protocol(self._server())
        limit = None if self._tls is None else self._connections.limits.header_seconds
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=limit)
        except OSError:
            # It has gone, speaks no TLS, or took too long for the handshake. A line for each would fill the log.
            pass
        finally:
            if not protocol.was_made:
                connection.close()
                protocol.never_made()

    async def _make_room(self, error: OSError) -> None:
        if not self._exhausted:
            self._exhausted = True
            _log.error("descriptors_exhausted", extra={"server": self._name, "reason": error.strerror})
        if not self._kept.give_one():
            # One that is closed gives its descriptor back in the next turns of the loop.
            wait = self._connections.evict()
            await asyncio.sleep(_PAUSE_SECONDS if wait is None else min(wait, _LONGEST_PAUSE_SECONDS))

    def _back_to_normal(self) -> None:
        self._kept.top_up()
        if self._exhausted and self._kept.complete:
            self._exhausted = False
            _log.info("descriptors_available", extra={"server": self._name})
