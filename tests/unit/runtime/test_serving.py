"""Bounded servers, asked by real sockets: slow, silent, many, and a process without descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp import web

from delegator.runtime.connections import ServingLimits
from delegator.runtime.server_tls import ServerTls
from delegator.runtime.serving import listen, serving
from tests.support.certificates import Authority

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
PATIENT = ServingLimits(header_seconds=600, body_seconds=600, idle_seconds=600, send_seconds=600)


@dataclass
class Service:
    """A server under test."""

    port: int
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the requests of `/hold`."""
    holding: int = 0
    """Requests of `/hold` that wait."""
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    """A request of `/large` has ended, in whatever way."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, path: str = "/") -> int:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as reply:
            await reply.read()
            return reply.status


@asynccontextmanager
async def service(limits: ServingLimits, tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    (listener,) = listen("127.0.0.1", 0)
    made = Service(listener.getsockname()[1])

    async def greet(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def body(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def hold(_request: web.Request) -> web.Response:
        made.holding += 1
        await made.held.wait()
        return web.Response(text="held")

    async def large(request: web.Request) -> web.StreamResponse:
        try:
            reply = web.StreamResponse()
            await reply.prepare(request)
            for _ in range(1_000):
                await reply.write(bytes(1_000_000))
            return reply
        finally:
            made.sent.set()

    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError("a fault of ours")

    app = web.Application(client_max_size=10_000)
    app.router.add_get("/", greet)
    app.router.add_post("/body", body)
    app.router.add_get("/hold", hold)
    app.router.add_get("/large", large)
    app.router.add_get("/broken", broken)
    async with serving(app, [listener], name="test", limits=limits, tls=tls):
        yield made
        made.held.set()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Wait until the server closes, and return what it had sent."""
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def limits(**changes: float) -> ServingLimits:
    """Patient ones, but for the changes."""
    names = ("header_seconds", "body_seconds", "idle_seconds", "send_seconds", "young_seconds")
    values = {name: getattr(PATIENT, name) for name in names} | changes
    connections = int(values.pop("connections", PATIENT.connections))
    return ServingLimits(connections=connections, **values)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:"], ids=["nothing", "part"])
async def test_slow_headers(sent: bytes):
    """A connection whose first request does not come in time is closed."""
    async with service(limits(header_seconds=0.1)) as server:
        reader, writer = await server.connect()
        writer.write(sent)
        assert await ended(reader) == b""
        writer.close()


async def test_dripping_headers():
    """Bytes that drip in do not prolong the time for headers."""
    async with service(limits(header_seconds=0.3)) as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        closed = asyncio.create_task(ended(reader))
        while not closed.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"X-A: b\r\n")
                await writer.drain()
            await asyncio.sleep(0.02)
        assert await closed == b""
        writer.close()


async def test_slow_second_request():
    """A further request has the time for headers from its first byte on."""
    async with service(limits(header_seconds=0.2)) as server:
        reader, writer = await server.connect()
        writer.write(REQUEST)
        assert await reader.readuntil(b"hello")
        writer.write(b"GET")
        assert await ended(reader) == b""
        writer.close()


async def test_slow_body():
    """A body that does not come in time ends the connection and its handler."""
    async with service(limits(body_seconds=0.1)) as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"part of it")
        assert await ended(reader) == b""
        writer.close()


async def test_idle():
    """A connection without another request is closed."""
    async with service(limits(idle_seconds=0.1)) as server:
        reader, writer = await server.connect()
        writer.write(REQUEST)
        assert (await ended(reader)).endswith(b"hello")
        writer.close()


async def test_long_request():
    """The limits are not for the time that a handler takes."""
    async with service(limits(header_seconds=0.05, body_seconds=0.05, idle_seconds=0.05)) as server:
        reader, writer = await server.connect()
        writer.write(REQUEST.replace(b"GET /", b"GET /hold"))
        await until(lambda: server.holding == 1)
        await asyncio.sleep(0.3)
        server.held.set()
        assert (await ended(reader)).endswith(b"held")
        writer.close()


async def test_reply_not_read():
    """A client that reads nothing holds no reply for long."""
    async with service(limits(send_seconds=0.2)) as server:
        _, writer = await server.connect()
        writer.transport.pause_reading()
        writer.write(REQUEST.replace(b"GET /", b"GET /large"))
        async with asyncio.timeout(60):
            await server.sent.wait()
        writer.close()


async def test_large_body():
    """A body beyond the application's bound is refused, also if it is compressed: nothing is decompressed."""
    async with service(PATIENT) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}/body"
        async with session.post(url, data=bytes(20_000)) as reply:
            assert reply.status == 413
        async with session.post(url, data=bytes(1_000_000), compress="gzip") as reply:
            assert (reply.status, int(await reply.text()) < 10_000) == (200, True)


async def test_idle_connections_give_way(caplog: pytest.LogCaptureFixture):
    """However many connections ask for nothing, one that asks is answered; and the log has one line."""
    caplog.set_level(logging.INFO)
    async with AsyncExitStack() as stack, service(limits(connections=10, young_seconds=0.02)) as server:
        for _ in range(100):
            _, writer = await server.connect()
            stack.callback(writer.close)
        for _ in range(5):
            assert await server.ask() == 200
        assert caplog.messages.count("connections_full") == 1


async def test_busy_connections_stay(caplog: pytest.LogCaptureFixture):
    """When all connections have requests, the next one waits for its turn. None is refused."""
    caplog.set_level(logging.INFO)
    async with service(limits(connections=5)) as server:
        tasks = [asyncio.create_task(server.ask("/hold")) for _ in range(5)]
        await until(lambda: server.holding == 5)
        late = [asyncio.create_task(server.ask()) for _ in range(20)]
        await until(lambda: "connections_full" in caplog.messages)
        assert not any(task.done() for task in late)
        server.held.set()
        assert set(await asyncio.gather(*tasks, *late)) == {200}
        await until(lambda: "connections_available" in caplog.messages)
    assert caplog.messages.count("connections_full") == 1


async def test_malformed_requests(caplog: pytest.LogCaptureFixture):
    """A thousand malformed requests are one line, and so are many faults of a handler."""
    caplog.set_level(logging.DEBUG)
    async with service(PATIENT) as server:
        assert await server.ask() == 200
        for number in range(100):
            reader, writer = await server.connect()
            writer.write(b"GET / HTTP/1.1\r\nbad header %d\r\n\r\n" % number)
            await ended(reader)
            writer.close()
        for _ in range(10):
            assert await server.ask("/broken") == 500
    ours = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in ours] == ["requests_malformed", "requests_failed"]
    assert ours[1].exc_info is not None


async def test_no_handshake(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Clients that shake no hands are closed, hold up nobody who does, and leave no line."""
    caplog.set_level(logging.INFO)
    authority = Authority(tmp_path)
    tls = ServerTls(authority.issue("server")).context
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    async with service(limits(header_seconds=0.5), tls) as server, aiohttp.ClientSession() as session:
        silent, silent_writer = await server.connect()
        plain, plain_writer = await server.connect()
        plain_writer.write(REQUEST)
        async with session.get(f"https://127.0.0.1:{server.port}/", ssl=trusting) as reply:
            assert reply.status == 200
        await ended(silent)
        await ended(plain)
        silent_writer.close()
        plain_writer.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_both_loops(loop: Callable[[], asyncio.AbstractEventLoop]):
    """The engine's processes use uvloop, and a user's own may not."""

    async def bounded() -> None:
        async with service(limits(connections=4, header_seconds=0.2)) as server:
            reader, writer = await server.connect()
            assert await ended(reader) == b""
            writer.close()
            assert await server.ask() == 200

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


async def test_no_descriptor_left():
    """Health answers while the process can't open anything; one line says so, and one says that it is over."""
    program = Path(__file__).with_name("hungry_server.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), "64"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def tell(expected: bytes) -> None:
        process.stdin.write(b"\n")  # type: ignore[union-attr]
        assert await process.stdout.readline() == expected  # type: ignore[union-attr]

    async with asyncio.timeout(180):
        server = Service(int(await process.stdout.readline()))
        await tell(b"none left\n")
        async with AsyncExitStack() as stack:
            for _ in range(8):
                _, writer = await server.connect()
                stack.callback(writer.close)
            for path in ("/livez", "/readyz", "/metrics") * 5:
                assert await server.ask(path) == 200
        await tell(b"free\n")
        assert await server.ask("/livez") == 200
        _, err = await process.communicate(b"\n")
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in err.decode().splitlines()]
    assert events == ["descriptors_exhausted", "descriptors_available"]
