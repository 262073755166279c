"""Receives from the stream so that a worker that stops takes no message with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from delegator.errors import StreamError, WireError
from http_workers.source import Message, StreamSource


async def receive(source: StreamSource, number: int, wait: timedelta) -> list[Message]:
    """Receive messages. When cancelled, give back what comes.

    Sequin does not notice that a request's connection is closed: it sends messages into it, and hides them from others
    for 30 seconds. So this waits until the request has its answer.

    Args:
        source: the stream.
        number: most messages.
        wait: how long the stream may wait for the first; that of `StreamSource.longest_wait`.

    Raises:
        StreamError, WireError: as `StreamSource.receive`.
    """
    if source.gives_back:
        return await source.receive(number, wait)
    request = asyncio.create_task(source.receive(number, wait), name="receive")
    try:
        return await asyncio.shield(request)
    except asyncio.CancelledError:
        try:
            with suppress(StreamError, WireError):
                await source.nack([message.ack_id for message in await asyncio.shield(request)])
        finally:
            request.cancel()
        raise
