"""The pull client against the real relay on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from delegator.errors import StreamError, WireError
from delegator.relay import RelayHandle, RelayOptions, running_relay
from http_workers.pacing import EmptyReplyPacer
from http_workers.source import StreamRefusedError, StreamSource
from tests.support import Database

NOW = timedelta(0)
SOON = timedelta(seconds=60)


def relay_options(database: Database, **changes: object) -> RelayOptions:
    return dataclasses.replace(RelayOptions.from_settings(database.settings, port=0), **{"token": "tok", **changes})


@pytest.fixture
async def relay(database: Database) -> AsyncIterator[RelayHandle]:
    async with running_relay(relay_options(database)) as relay:
        yield relay


@pytest.fixture
async def source(relay: RelayHandle) -> AsyncIterator[StreamSource]:
    async with StreamSource(url=relay.url, queue="default", token=SecretStr("tok")) as source:
        yield source


async def enqueue(database: Database, ids: Sequence[str]) -> None:
    async with await psycopg.AsyncConnection.connect(database.url) as connection, connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO custom_task_queue (job_id, job_type, input) VALUES (%s, 't', '\\x00ff')",
            [(i,) for i in ids],
        )


async def drain(source: StreamSource, count: int) -> dict[str, str]:
    """Return job id to ack id of the next `count` messages."""
    found: dict[str, str] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            for message in await source.receive(1000, timedelta(seconds=1)):
                found[message.data.record.job_id] = message.ack_id
    return found


async def test_receive_and_ack(database: Database, source: StreamSource):
    """Enqueued rows arrive in order, and acked ones do not return."""
    await enqueue(database, ["a", "b"])
    (first, *_) = messages = await source.receive(10, SOON)
    while len(messages) < 2:
        messages += await source.receive(10, SOON)
    assert [message.data.record.job_id for message in messages] == ["a", "b"]
    assert type(first.data.record.fencing_token) is int
    await source.ack([message.ack_id for message in messages])
    await source.ack([first.ack_id])
    assert await source.receive(10, NOW) == []


async def test_nack(database: Database, source: StreamSource):
    """A message that is nacked returns at once."""
    await enqueue(database, ["a"])
    (message,) = await source.receive(1, SOON)
    assert await source.receive(1, NOW) == []
    await source.nack([message.ack_id])
    (again,) = await source.receive(1, SOON)
    assert again.ack_id == message.ack_id


async def test_batch_size(database: Database, source: StreamSource):
    """A poll takes at most as many messages as it asks for."""
    ids = [f"j{number}" for number in range(1500)]
    await enqueue(database, ids)
    async with asyncio.timeout(60):
        assert len(await source.receive(7, SOON)) <= 7
    rest = await drain(source, 1493)
    await source.ack(list(rest.values()))
    assert set(rest) <= set(ids)


async def test_waits_for_first_message(database: Database, source: StreamSource):
    """A poll waits for the first message and returns as soon as it is there."""
    asked = asyncio.create_task(source.receive(10, SOON))
    await asyncio.sleep(0.3)
    assert not asked.done()
    await enqueue(database, ["a"])
    assert len(await asked) == 1


async def test_empty_wait(source: StreamSource):
    """A poll without messages lasts as long as was asked for, so the pacer adds no pause."""
    wait = timedelta(milliseconds=700)
    began = time.monotonic()
    assert await source.receive(1, wait) == []
    elapsed = timedelta(seconds=time.monotonic() - began)
    assert EmptyReplyPacer().pause(0, elapsed, wait) == 0


async def test_a_wrong_token_is_refused(relay: RelayHandle):
    for token in (None, SecretStr("wrong")):
        async with StreamSource(url=relay.url, queue="default", token=token) as source:
            with pytest.raises(StreamRefusedError, match="DELEGATOR_STREAM_TOKEN"):
                await source.receive(1, NOW)


async def test_an_unknown_queue_is_refused(relay: RelayHandle):
    async with StreamSource(url=relay.url, queue="nowhere", token=SecretStr("tok")) as source:
        with pytest.raises(StreamRefusedError, match="custom_task_queue_nowhere"):
            await source.receive(1, NOW)


async def test_restarted_relay(database: Database):
    """A poll fails with a temporary error while the relay is away, and works after its restart."""
    async with running_relay(relay_options(database)) as relay:
        port = int(relay.url.rsplit(":", 1)[1])
        async with StreamSource(url=relay.url, queue="default", token=SecretStr("tok")) as source:
            assert await source.receive(1, NOW) == []
            relay.task.cancel()
            await relay.relay.stop()
            with pytest.raises(StreamError) as caught:
                await source.receive(1, NOW)
            assert not isinstance(caught.value, StreamRefusedError)
            await enqueue(database, ["a"])
            async with running_relay(relay_options(database, port=port)):
                assert list(await drain(source, 1)) == ["a"]


@pytest.mark.parametrize("way", ["compressed", "endless", "deep"])
async def test_hostile_reply(way: str) -> None:
    """A reply that is compressed, endless or nested without end is refused, and takes no memory."""

    async def reply(request: web.Request) -> web.StreamResponse:
        if way == "deep":
            return web.Response(body=b'{"data":' + b"[" * 200_000)
        if way == "compressed":
            response = web.Response(body=bytes(1 << 20))
            response.enable_compression(web.ContentCoding.gzip)
            return response
        stream = web.StreamResponse()
        await stream.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await stream.write(bytes(1 << 20))
        return stream

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    async with (
        TestServer(app) as server,
        StreamSource(url=str(server.make_url("/")), queue="default", token=None) as source,
    ):
        with pytest.raises(WireError):
            await source.receive(10, NOW)
