"""Starting in any order: a server that does not answer yet is waited for, one that refuses is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from delegator.errors import DependencyError
from delegator.runtime.backoff import Backoff


class Listener(Protocol):
    """Is told how a server fares, such as a `ConnectionState`."""

    def lost(self, reason: str) -> None:
        """Note that the server does not answer."""

    def restored(self) -> None:
        """Note that the server answers."""


async def wait_for(
    check: Callable[[], Awaitable[object]], limit: timedelta, state: Listener, stop: asyncio.Event
) -> bool:
    """Repeat a check until it succeeds.

    Args:
        check: raises DependencyError while its server is away.
        limit: how long to wait (`DELEGATOR_START_TIMEOUT`).
        state: told about the server's health.
        stop: ends the wait when it is set.

    Returns:
        False if the wait was stopped.

    Raises:
        DependencyError: what the check raised last, once the limit is over.
        ConfigurationError: what the check raised.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + limit.total_seconds()
    backoff = Backoff(longest=timedelta(seconds=2))
    failures = 0
    while not stop.is_set():
        try:
            await check()
        except DependencyError as error:
            failures += 1
            # One failure may be our own doing: a process that was stopped for a while finds its time limits over.
            if loop.time() >= give_up_at and failures > 1:
                raise
            state.lost(str(error))
            await backoff.sleep(stop)
        else:
            state.restored()
            return True
    return False
