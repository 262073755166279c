"""Starting in any order: a server that does not answer yet is waited for, one that refuses is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from delegator.errors import DependencyError
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionState


async def wait_for(
    check: Callable[[], Awaitable[object]], limit: timedelta, state: ConnectionState, stop: asyncio.Event
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
    while not stop.is_set():
        try:
            await check()
        except DependencyError as error:
            if loop.time() >= give_up_at:
                raise
            state.lost(str(error))
            await backoff.sleep(stop)
        else:
            state.restored()
            return True
    return False
