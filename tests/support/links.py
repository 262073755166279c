"""A TCP link that a test can cut, between a process and its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

from tests.support.forwarding import forward


class Link:
    """Forwards connections to a server, unless it is cut."""

    def __init__(self, server: URL) -> None:
        self._server = server
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.url = ""
        """Where to connect."""

    def cut(self) -> None:
        """Break all connections, and accept none until `mend` is called."""
        self._is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Forward again."""
        self._is_cut = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self._server.host, self._server.port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._open |= ends
        try:
            await asyncio.gather(forward(reader, back), forward(there, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()


@asynccontextmanager
async def link(url: str) -> AsyncIterator[Link]:
    """Open a link to the server at a URL."""
    made = Link(URL(url))
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
        made.cut()
        server.close()
        with suppress(asyncio.CancelledError):
            await server.wait_closed()
