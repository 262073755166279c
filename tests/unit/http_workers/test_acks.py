"""Acks are sent at once while messages are rare, together while they are many, and again after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from unittest.mock import MagicMock

from prometheus_client import CollectorRegistry

from delegator.errors import StreamError
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from http_workers.acks import Acknowledger


class Source:
    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.down = False

    async def ack(self, ack_ids: Sequence[str]) -> None:
        if self.down:
            raise StreamError("it is away")
        self.requests.append(list(ack_ids))


async def _sent(source: Source, requests: int) -> None:
    async with asyncio.timeout(60):
        while len(source.requests) < requests:
            await asyncio.sleep(0.001)


async def test_ack_batches() -> None:
    """The first ack is sent at once, and those that come meanwhile are sent together."""
    source = Source()
    state = ConnectionState("stream", ConnectionMetrics(CollectorRegistry()))
    acks = Acknowledger(source, state)  # type: ignore[arg-type]
    running = asyncio.create_task(acks.run())
    try:
        acks.add(["a"])
        await _sent(source, 1)
        for ack_id in "bcd":
            acks.add([ack_id])
            await asyncio.sleep(0)
        await _sent(source, 2)
    finally:
        running.cancel()
    assert source.requests == [["a"], ["b", "c", "d"]]


async def test_ack_outage() -> None:
    """Acks survive an outage of the stream, which is reported once."""
    source, state = Source(), MagicMock()
    acks = Acknowledger(source, state)  # type: ignore[arg-type]
    source.down = True
    acks.add(["a"])
    await acks.flush()
    state.lost.assert_called_once()
    source.down = False
    acks.add([str(number) for number in range(5_000)])
    await acks.flush()
    assert [len(request) for request in source.requests] == [2_000, 2_000, 1_000]
