"""Cancellation that stops at a point, and cancellation that an error would hide."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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


async def run_apart(run: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a task of its own, and return its result. A cancellation always ends the caller.

    A task group that has an error raises that error in place of a cancellation that arrives at the same moment.
    A loop that goes on after errors would then never end. Here the cancellation reaches the caller, whatever the
    coroutine does.

    Args:
        run: the coroutine. It is cancelled with the caller, who waits for its end.

    Raises:
        BaseException: what the coroutine raised, unless the caller was cancelled.
    """
    running = asyncio.create_task(run)
    try:
        await asyncio.wait([running])
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # asyncio reports an error that nobody reads
    return running.result()


def cancel_requests() -> int:
    """Return how often the current task was asked to end and has not taken that back."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def raise_if_cancelled(known: int) -> None:
    """End a task that was cancelled while a library lost the CancelledError.

    Before Python 3.12 `asyncio.wait_for` returns a result that arrives at the same moment.

    Args:
        known: the number of requests before the library was called. It is not always zero: before Python 3.13 a task
            group that had an error can leave one behind.

    Raises:
        asyncio.CancelledError: the current task was asked more often.
    """
    if cancel_requests() > known:
        raise asyncio.CancelledError
