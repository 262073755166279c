"""Lets processes start in any order. They wait for a server that does not answer, but not for one that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from delegator.errors import DependencyError
from delegator.runtime.backoff import Backoff


class Listener(Protocol):
    """Gets the state of a server, for example a `ConnectionState`."""

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
        state: gets the state of the server.
        stop: ends the wait when it is set.

    Returns:
        False if the wait was stopped.

    Raises:
        DependencyError: the last error of the check, after the limit.
        ConfigurationError: the error of the check.
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
            # One failure may have its cause here: a process that was paused finds its time limits exceeded.
            if loop.time() >= give_up_at and failures > 1:
                raise
            state.lost(str(error))
            await backoff.sleep(stop)
        else:
            state.restored()
            return True
    return False
