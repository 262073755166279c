"""Keeps the logs of what outlives a test out of its `caplog`.

Engines that tests share run on the event loop of all tests. On a busy machine they may log at any time, such as that a
connection was lost. A test that counts log events must not see these.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_OUTLIVES_TEST: ContextVar[bool] = ContextVar("outlives_test", default=False)


@contextmanager
def outliving_tests() -> Iterator[None]:
    """Mark the tasks that are started within the block, and the tasks that these start."""
    token = _OUTLIVES_TEST.set(True)
    try:
        yield
    finally:
        _OUTLIVES_TEST.reset(token)


@asynccontextmanager
async def shared(server: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Run what several tests share."""
    async with AsyncExitStack() as stack:
        with outliving_tests():
            running = await stack.enter_async_context(server)
        yield running


def is_of_test(record: logging.LogRecord) -> bool:
    """Return whether the running task belongs to a test. For `logging.Handler.addFilter`."""
    return not _OUTLIVES_TEST.get()
