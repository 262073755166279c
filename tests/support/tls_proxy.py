"""Puts TLS before a server that has none, as a load balancer does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from delegator.runtime.server_tls import TlsFiles

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""See PostgreSQL's documentation, "Message Formats": SSLRequest."""


@asynccontextmanager
async def tls_proxy(
    port: int, files: TlsFiles, *, clients: Path | None = None, is_postgres: bool = False
) -> AsyncIterator[int]:
    """Serve TLS before a port of this machine, and give the port of the proxy.

    Args:
        port: of the server.
        files: the proxy's certificate.
        clients: the authority whose certificates clients must have; None: they need none.
        is_postgres: clients ask for TLS within PostgreSQL's protocol.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_postgres:
            assert await reader.readexactly(8) == _SSL_REQUEST, "the client did not ask for TLS"
            writer.write(b"S")
            await writer.start_tls(context)
        ahead, behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, behind), _copy(ahead, writer))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=None if is_postgres else context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
