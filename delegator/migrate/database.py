"""The connection that migrations use, and the locks that let one migration run at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection

from delegator.config import Settings
from delegator.errors import DatabaseError, first_line
from delegator.postgres import connections

LOCK_TIMEOUT_SECONDS = 60
"""How long a migration waits for a lock, also for that of another migration."""
_LOCK_POLL_SECONDS = 0.05
DELEGATOR_LOCK = 0x44454C45_47415445
"""Advisory lock that `delegator migrate` holds."""
ATLAS_LOCK = 0xA02049D8
"""Advisory lock that `atlas migrate apply` takes: 32-bit FNV-1 of `atlas_migrate_execute`."""


@asynccontextmanager
async def connect(settings: Settings, *, locks: bool = True) -> AsyncIterator[AsyncConnection]:
    """Open one connection in autocommit mode.

    Args:
        settings: where the database is.
        locks: whether it takes locks. If not, it needs no session of its own and may go through a pooler.

    Raises:
        ConfigurationError: the database URL is not one.
        DatabaseError: the server can't be reached, refuses the connection, or drops it.
    """
    address = connections.DatabaseAddress.of(settings)
    session_for = "a migration, which holds locks," if locks else None
    connection = await connections.connect(address, application_name="delegator migrate", session_for=session_for)
    try:
        async with connection:
            if locks:
                await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{first_line(error)}: migrate as the owner of the tables. The owner needs CREATE on the database, and "
            "CREATEROLE unless an administrator has made the roles (page Database roles of the documentation)"
        ) from None
    except psycopg.errors.LockNotAvailable:
        raise DatabaseError(_locked()) from None
    except psycopg.OperationalError as error:
        raise DatabaseError(f"the database connection failed: {first_line(error)}") from None
    except psycopg.Error as error:
        raise DatabaseError(f"the database refused: {first_line(error)}") from None


@asynccontextmanager
async def advisory_lock(connection: AsyncConnection, key: int) -> AsyncIterator[None]:
    """Hold a session-level advisory lock. PostgreSQL releases it when the connection ends.

    Raises:
        DatabaseError: another session has held it for `LOCK_TIMEOUT_SECONDS`.
    """
    try:
        async with asyncio.timeout(LOCK_TIMEOUT_SECONDS):
            # A statement that waits for the lock keeps its snapshot. The holder's CREATE INDEX CONCURRENTLY would wait
            # for that snapshot: a deadlock. Between two attempts there is no snapshot.
            while not await _try_lock(connection, key):  # noqa: ASYNC110 - the event is in the database
                await asyncio.sleep(_LOCK_POLL_SECONDS)
    except TimeoutError:
        raise DatabaseError(_locked()) from None
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute("SELECT pg_advisory_unlock(%s::bigint)", [key])


async def _try_lock(connection: AsyncConnection, key: int) -> bool:
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s::bigint)", [key])).fetchone()
    return row is not None and bool(row[0])


def _locked() -> str:
    return (
        f"waited {LOCK_TIMEOUT_SECONDS} s for a lock: another migration or a long transaction holds it; end it (SELECT "
        "pid, application_name, query FROM pg_stat_activity ORDER BY xact_start), or try again"
    )
