"""Workers that stop while a request of theirs waits, at a stream that notices it and at one that does not."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest

from http_workers.pending import receive
from http_workers.source import StreamSource
from tests.support import Database

from .client import Puller, enqueue, names, relay, until

WAIT = timedelta(seconds=5)
BOTH = pytest.mark.parametrize("like_sequin", [False, True], ids=["relay", "like_sequin"])


def source(puller: Puller) -> StreamSource:
    return StreamSource(url=puller.url, queue="default")


async def waits(handle: object, count: int = 1) -> None:
    async def look() -> bool:
        return sum(stream.pollers for stream in handle.relay.streams.values()) == count  # type: ignore[attr-defined]

    await until(look)


@BOTH
async def test_stop_of_a_worker(database: Database, like_sequin: bool) -> None:
    """A worker that stops takes no message with it: others get it at once."""
    async with relay(database, like_sequin=like_sequin) as (handle, puller), source(puller) as stopping:
        # Its first answer says what kind of stream this is.
        await stopping.receive(1, timedelta(0))
        assert stopping.gives_back is not like_sequin
        task = asyncio.create_task(receive(stopping, 10, WAIT))
        await waits(handle)
        task.cancel()
        expected = await enqueue(database, 1, 3)
        async with asyncio.timeout(20):
            with contextlib.suppress(asyncio.CancelledError):
                await task
            got: list[str] = []
            while len(got) < len(expected):
                got += names(await puller.receive(wait=500))
        assert sorted(got) == expected


async def test_swallowed(database: Database) -> None:
    """What the worker is kept from: a request that is dropped hides what comes next."""
    async with relay(database, like_sequin=True) as (handle, puller), source(puller) as dropped:
        task = asyncio.create_task(dropped.receive(10, WAIT))
        await waits(handle)
        task.cancel()
        await asyncio.wait([task])
        await enqueue(database, 1, 3)
        await waits(handle, 0)
        assert await puller.receive(wait=500) == []
        assert len(handle.relay.streams["custom_task_queue"]) == 3


@BOTH
async def test_longest_wait(database: Database, like_sequin: bool) -> None:
    """A request waits for long only where a killed worker's request is noticed."""
    async with relay(database, like_sequin=like_sequin) as (_, puller), source(puller) as asking:
        assert asking.longest_wait(WAIT) == timedelta(seconds=1)
        await asking.receive(1, timedelta(0))
        assert asking.longest_wait(WAIT) == (timedelta(seconds=1) if like_sequin else WAIT)
