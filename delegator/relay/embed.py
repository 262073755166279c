"""The relay inside another program: tests, and the command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from delegator.relay.options import RelayOptions
from delegator.relay.service import Relay


@dataclass(frozen=True)
class RelayHandle:
    """A relay that runs."""

    url: str
    """Base URL of its HTTP surface, without a slash at the end."""
    relay: Relay
    """The relay itself, for a look at its state."""
    task: asyncio.Task[None]
    """Follows the WAL; ends only by an error or by being cancelled."""


@contextlib.asynccontextmanager
async def running_relay(
    options: RelayOptions, registry: CollectorRegistry | None = None, *, wait: bool = True
) -> AsyncIterator[RelayHandle]:
    """Run a relay on this event loop; it ends with the context.

    Args:
        options: what to serve.
        registry: where its metrics go; None: one of its own.
        wait: begin only when every queue is streamed.

    Raises:
        ConfigurationError: it can't be run as configured.
    """
    relay = Relay(options, registry or CollectorRegistry())
    await relay.start()
    task = asyncio.create_task(relay.run(), name="relay")
    try:
        if wait:
            await _first(task, relay.streaming())
        yield RelayHandle(relay.url, relay, task)
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        await relay.stop()


async def _first(task: asyncio.Task[None], event: Coroutine[None, None, object]) -> None:
    waiter = asyncio.create_task(event)
    try:
        await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
    if task.done():
        task.result()


async def serve(options: RelayOptions, stop: asyncio.Event) -> None:
    """Run a relay until `stop` is set.

    Raises:
        ConfigurationError: it can't be run as configured.
    """
    async with running_relay(options, wait=False) as handle:
        await _first(handle.task, stop.wait())
