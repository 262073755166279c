"""Waits for table locks that are so short that no statement of a running process notices them.

A statement that waits for a strong lock makes every later statement on that table wait behind it. So a migration gives
up a lock that it does not get at once, lets the others pass, and tries again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection

from delegator.migrate import database
from delegator.runtime.backoff import Backoff

LOCK_WAIT_MS: Final = 50
"""How long all the statements of one transaction together wait for locks."""
_SHORTEST_WAIT_MS: Final = 5
"""A statement waits that long, even if those before it have used the time up. Zero would wait without end."""

Result = TypeVar("Result")
Execute = Callable[[str], Awaitable[object]]
"""Runs a statement."""

_log = logging.getLogger(__name__)


async def in_short_transaction(
    connection: AsyncConnection, work: Callable[[Execute], Awaitable[Result]], *, what: str
) -> Result:
    """Do some work in a transaction that holds nobody up, again and again until it gets its locks.

    Args:
        connection: in autocommit mode.
        work: what to do. It runs its statements by the function that it is given. It may be called several times.
        what: names the work in the log.

    Raises:
        psycopg.errors.LockNotAvailable: others have held a lock for `LOCK_TIMEOUT_SECONDS`.
    """

    async def attempt() -> Result:
        began = time.monotonic()

        async def execute(statement: str) -> None:
            left = LOCK_WAIT_MS - round((time.monotonic() - began) * 1000)
            await connection.execute(f"SET LOCAL lock_timeout = {max(left, _SHORTEST_WAIT_MS)}".encode())
            await connection.execute(statement.encode())

        async with connection.transaction():
            return await work(execute)

    return await until_locked(attempt, what=what)


async def until_locked(attempt: Callable[[], Awaitable[Result]], *, what: str) -> Result:
    """Repeat an attempt to which PostgreSQL refuses a lock.

    Args:
        attempt: raises LockNotAvailable, and has changed nothing then.
        what: names the work in the log.

    Raises:
        psycopg.errors.LockNotAvailable: others have held a lock for `LOCK_TIMEOUT_SECONDS`.
    """
    ends = time.monotonic() + database.LOCK_TIMEOUT_SECONDS
    pauses = Backoff(timedelta(milliseconds=100), timedelta(seconds=1))
    said = False
    while True:
        try:
            return await attempt()
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() >= ends:
                raise
        if not said:
            _log.info("migration_waits_for_lock", extra={"work": what})
            said = True
        # At least so long, so that whoever waited behind the attempt is done before the next one.
        await asyncio.sleep(LOCK_WAIT_MS / 1000 + pauses.next())
