"""A relay with thousands of requests that wait, and with clients that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from delegator.runtime.descriptors import raise_descriptor_limit
from tests.support import Database

from .client import STREAM, enqueue, relay, until

POLLS = 2_000
BODY = json.dumps({"max_batch_size": 1, "wait_for": 120_000}).encode()
POLL = (
    f"POST /api/sequin_streams/{STREAM}/receive HTTP/1.1\r\nHost: relay\r\nAccept: application/json\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY
HOSTILE = (
    b"",
    b"\x16\x03\x01\x02\x00\x01\x00",  # TLS to a port without it
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000,
    b"POST / HTTP/9.9\r\n\r\n",
    POLL[:40],
    POLL.replace(b"Content-Length: ", b"Content-Length: 9"),
    b"POST /api/sequin_streams/x/receive HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
)


async def test_waiting_requests(database: Database) -> None:
    """Thousands of requests wait beside hostile clients; each job goes to one of them, once."""
    # Both ends of each connection are in this process.
    raise_descriptor_limit(8_192)
    async with relay(database) as (handle, puller), AsyncExitStack() as stack:
        address = urlsplit(handle.url)
        replies: asyncio.Queue[str] = asyncio.Queue()

        async def connect(sent: bytes) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                await writer.drain()
            return reader

        async def poll() -> None:
            reader = await connect(POLL)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            for message in json.loads(await reader.readexactly(length))["data"]:
                replies.put_nowait(message["data"]["record"]["job_id"])

        async def all_wait() -> bool:
            return handle.relay.streams[STREAM].pollers == POLLS

        async with asyncio.timeout(240):
            for sent in HOSTILE * 20:
                await connect(sent)
            polls = [asyncio.create_task(poll()) for _ in range(POLLS)]
            await until(all_wait, limit=200)
            assert (await puller.health())["ok"]
            expected = await enqueue(database, 1, POLLS)
            await asyncio.gather(*polls)
        got = [replies.get_nowait() for _ in range(replies.qsize())]
        assert sorted(got) == sorted(expected)
