"""Cancellation that stops at a point, and cancellation that an error would hide."""

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


def cancel_requests() -> int:
    """Return how often the current task was asked to end and has not taken that back."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def raise_if_cancelled(known: int = 0) -> None:
    """End a task that was cancelled while a library lost the CancelledError.

    A task group raises the errors of its tasks in place of a cancellation that arrives beside them, and before Python
    3.12 `asyncio.wait_for` returns a result that arrives at the same moment. A loop that goes on after errors would
    then never end.

    A task group whose task fails cancels the task that runs the group, and takes that back only if it is still in the
    group's block. If it only waits at the end of the block, the request stays counted for ever. So a loop that calls
    this waits for the tasks of its groups within their blocks.

    Args:
        known: the number of requests that the caller has seen already.

    Raises:
        asyncio.CancelledError: the current task was asked more often.
    """
    if cancel_requests() > known:
        raise asyncio.CancelledError
