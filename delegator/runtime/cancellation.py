"""Cancellation that stops at a point."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def cancellable_until(over: asyncio.Event, run: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a task of its own. A cancellation reaches it until an event is set, and is ignored after that.

    Args:
        over: the event.
        run: the coroutine.

    Raises:
        BaseException: what the coroutine raised.
    """
    running = asyncio.create_task(run)
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            if not over.is_set():
                running.cancel()
    running.result()
