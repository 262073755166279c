"""The pull client against servers that misbehave, which the real relay can't be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from delegator.errors import ConfigurationError, StreamError, WireError
from http_workers.source import Data, Message, Record, StreamRefusedError, StreamSource, StreamTimeouts

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "s3cr3t-payload"
SHORT = StreamTimeouts(
    connect=timedelta(seconds=1), margin=timedelta(milliseconds=200), ack=timedelta(milliseconds=200)
)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(handler: Handler, queue: str = "default", **options: Any) -> AsyncIterator[StreamSource]:
    async with serving(handler) as url, StreamSource(url=url, queue=queue, timeouts=SHORT, **options) as source:
        yield source


def reply(body: Any = None, status: int = 200) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        if isinstance(body, bytes):
            return web.Response(body=body, status=status, content_type="application/json")
        return web.json_response(body, status=status)

    return handler


async def test_receive():
    """receive() sends the protocol's request and returns the records."""
    asked: list[tuple[str, str, Any, Any, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(
            (
                request.method,
                request.path,
                await request.json(),
                request.headers["Accept"],
                request.headers.get("Authorization"),
            )
        )
        record = {"job_id": "j", "fencing_token": 7, "more": [1]}
        item = {"ack_id": "a", "data": {"record": record, "changes": None, "action": "insert"}}
        return web.json_response({"data": [item, item | {"ack_id": "b"}]})

    async with answering(handler, queue="video", token=SecretStr("tok")) as source:
        messages = await source.receive(5000, timedelta(seconds=2))
        await source.receive(7, timedelta(0))
        await source.receive(7, timedelta(milliseconds=1))
        await source.receive(7, timedelta(hours=1))
    assert messages == [Message(ack_id, Data(Record("j", 7))) for ack_id in "ab"]
    path = "/api/sequin_streams/custom_task_queue_video/receive"
    assert asked[0] == ("POST", path, {"batch_size": 1000, "wait_for": 2000}, "application/json", "Bearer tok")
    assert [body for _, _, body, _, _ in asked[1:]] == [
        {"batch_size": 7},
        {"batch_size": 7, "wait_for": 500},
        {"batch_size": 7, "wait_for": 300_000},
    ]


async def test_ack_and_nack():
    """ack() and nack() send their ids, and no request without ids."""
    asked: list[tuple[str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.path.rsplit("/", 1)[1], await request.json()))
        return web.json_response({"success": True})

    async with answering(handler) as source:
        await source.ack(["a", "b"])
        await source.nack(("c",))
        await source.ack([])
    assert asked == [("ack", {"ack_ids": ["a", "b"]}), ("nack", {"ack_ids": ["c"]})]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (f"<html>{SECRET}".encode(), "not JSON"),
        (b"", "not JSON"),
        (b"{" + SECRET.encode(), "not JSON"),
        (b'{"data": [{"ack_id": "\xff", "data": {"record": {}}}]}', "not JSON"),
        ([SECRET], "Expected `object`"),
        ({"data": {"x": SECRET}}, "Expected `array`, got `object` - at `$.data`"),
        ({"messages": [SECRET]}, "missing required field `data`"),
        ({"data": [SECRET]}, "at `$.data[0]`"),
        ({"data": [None]}, "at `$.data[0]`"),
        ({"data": [{"data": {"record": {"a": SECRET}}}]}, "missing required field `ack_id` - at `$.data[0]`"),
        ({"data": [{"ack_id": 7, "data": {"record": {"a": SECRET}}}]}, "at `$.data[0].ack_id`"),
        ({"data": [{"ack_id": "a", "data": SECRET}]}, "at `$.data[0].data`"),
        ({"data": [{"ack_id": "a", "data": {"record": SECRET}}]}, "at `$.data[0].data.record`"),
        (
            {"data": [{"ack_id": "a", "data": {"record": {}}}, {"ack_id": "b", "data": {"recrd": SECRET}}]},
            "missing required field `record` - at `$.data[1].data`",
        ),
    ],
)
async def test_malformed_reply(body: Any, wrong: str):
    """A malformed reply raises a WireError that does not quote it."""
    async with answering(reply(body)) as source:
        with pytest.raises(WireError) as caught:
            await source.receive(10, timedelta(0))
    assert wrong in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("body", [{"success": False}, {}, {"success": "yes"}])
async def test_malformed_ack_reply(body: Any):
    """A reply to an ack that is not a success raises a WireError."""
    async with answering(reply(body)) as source:
        with pytest.raises(WireError, match="ack"):
            await source.ack(["a"])


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (401, ["DELEGATOR_STREAM_TOKEN"]),
        (403, ["DELEGATOR_STREAM_TOKEN"]),
        (404, ["'video'", "'custom_task_queue_video'", "delegator sequin-config", "delegator migrate"]),
        (400, ["bad wait_for"]),
        (302, ["DELEGATOR_STREAM_URL"]),
    ],
)
async def test_refusal(status: int, names: list[str]):
    """A refused request raises a permanent error that says what to do."""
    async with answering(reply({"summary": "bad wait_for"}, status), queue="video") as source:
        for call in (source.receive(1, timedelta(0)), source.ack(["a"]), source.nack(["a"])):
            with pytest.raises(StreamRefusedError) as caught:
                await call
            for name in names:
                assert name in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
@pytest.mark.parametrize("body", [{"summary": "store not up"}, b"<html>", {"summary": 5}, [1]])
async def test_server_not_ready(status: int, body: Any):
    """A server that is not ready raises a temporary error with its status."""
    async with answering(reply(body, status)) as source:
        with pytest.raises(StreamError, match=str(status)) as caught:
            await source.receive(1, timedelta(0))
    assert not isinstance(caught.value, StreamRefusedError)


async def test_errors_of_the_framework():
    """What Sequin's web framework says of a bad request is shown, too."""
    async with answering(reply({"errors": {"detail": "Bad Request"}}, 400)) as source:
        with pytest.raises(StreamRefusedError, match=r"\(400\): Bad Request"):
            await source.receive(1, timedelta(0))


async def test_the_next_url():
    """A request that one server does not answer goes to the next. If all fail, the error says what each said."""
    asked: list[str] = []

    def server(name: str, status: int) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            asked.append(name)
            return web.json_response({"data": []} if status == 200 else {"summary": f"{name} stands by"}, status=status)

        return handler

    async with serving(server("first", 503)) as first, serving(server("second", 200)) as second:
        async with StreamSource(url=f"{first}, {second}", queue="default", timeouts=SHORT) as source:
            for _ in range(2):
                assert await source.receive(1, timedelta(0)) == []
        assert asked == ["first", "second", "second"]
        async with (
            serving(server("third", 503)) as third,
            StreamSource(url=f"{first},{third}", queue="default", timeouts=SHORT) as source,
        ):
            with pytest.raises(StreamError, match="first stands by.*third stands by"):
                await source.receive(1, timedelta(0))


async def test_long_summary():
    """A long summary of the server is cut and put on one line."""
    async with answering(reply({"summary": "no\nway " + "x" * 10_000}, 400)) as source:
        with pytest.raises(StreamRefusedError, match="no way") as caught:
            await source.receive(1, timedelta(0))
    assert len(str(caught.value)) < 400


async def test_connection_refused():
    """A refused connection raises a temporary error that names the setting."""
    async with serving(reply()) as url:
        pass
    async with StreamSource(url=url, queue="default") as source:
        with pytest.raises(StreamError, match="DELEGATOR_STREAM_URL") as caught:
            await source.receive(1, timedelta(0))
    assert not isinstance(caught.value, StreamRefusedError)


@pytest.mark.parametrize("call", ["receive", "ack"])
async def test_a_half_open_connection_is_noticed(call: str):
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, StreamSource(url=url, queue="default", timeouts=SHORT) as source, asyncio.timeout(60):
        with pytest.raises(StreamError, match="silent"):
            await (source.receive(1, timedelta(seconds=1)) if call == "receive" else source.ack(["a"]))


async def test_slow_reply():
    """A reply that keeps arriving slowly is read to its end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"data":')
        for _ in range(5):
            await asyncio.sleep(0.1)
            await response.write(b" ")
        await response.write(b"[]}")
        return response

    async with answering(handler) as source:
        assert await source.receive(1, timedelta(0)) == []


async def test_cut_connection():
    """A connection that ends within the reply raises a temporary error that does not quote it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"data":[{"a":"%s"' % SECRET.encode())
        assert request.transport is not None
        request.transport.close()
        return response

    async with answering(handler) as source:
        with pytest.raises(StreamError) as caught:
            await source.receive(1, timedelta(0))
    assert SECRET not in str(caught.value)


async def test_not_http():
    """A reply that is not HTTP raises a temporary error that does not quote it."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{SECRET}\r\n\r\n".encode())
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, StreamSource(url=url, queue="default", timeouts=SHORT) as source:
        with pytest.raises(StreamError) as caught:
            await source.receive(1, timedelta(0))
    assert SECRET not in str(caught.value)


async def test_cancelled_receive():
    """A cancelled receive() raises CancelledError."""
    asked, released = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        asked.set()
        await released.wait()
        return web.json_response({"data": []})

    async with answering(handler) as source:
        task = asyncio.create_task(source.receive(1, timedelta(seconds=30)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        released.set()


async def test_a_borrowed_session_stays_open():
    async with serving(reply({"data": []})) as url, aiohttp.ClientSession() as session:
        async with StreamSource(url=url, queue="default", session=session) as source:
            assert await source.receive(1, timedelta(0)) == []
        assert not session.closed


@pytest.mark.parametrize("url", ["", "127.0.0.1:7376", "ftp://host", "http://", "http://host:port", "http://u:p@host"])
def test_an_unusable_url_is_refused_by_name(url: str):
    with pytest.raises(ConfigurationError, match="DELEGATOR_STREAM_URL"):
        StreamSource(url=url, queue="default")


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "tökén"])
def test_bad_token(token: str):
    """A token that an HTTP header can't hold is refused, and not shown."""
    with pytest.raises(ConfigurationError, match="DELEGATOR_STREAM_TOKEN") as caught:
        StreamSource(url="http://127.0.0.1:1", queue="default", token=SecretStr(token))
    assert token not in str(caught.value)
