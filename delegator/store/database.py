"""Connections to PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from delegator.errors import DatabaseError

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError)
"""What a lost connection, a restart, a deadlock or an exhausted server raises: try again."""

_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


async def connect(database_url: str, *, application_name: str) -> Connection:
    """Open one connection in autocommit mode.

    Args:
        database_url: libpq connection string or URL.
        application_name: shown in `pg_stat_activity`.

    Raises:
        DatabaseError: the server can't be reached or refuses us.
    """
    try:
        return await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, application_name=application_name, connect_timeout=10, **_KEEPALIVE
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(f"can't connect to PostgreSQL (DELEGATOR_DATABASE_URL): {first_line(error)}") from None


@asynccontextmanager
async def connection_pool(
    database_url: str, *, application_name: str, size: int, wait: float | None = 30.0
) -> AsyncIterator[Pool]:
    """Open a pool of connections in autocommit mode.

    Args:
        database_url: libpq connection string or URL.
        application_name: shown in `pg_stat_activity`.
        size: most connections.
        wait: longest time to wait for a free connection, in seconds.

    Raises:
        DatabaseError: the server can't be reached at the start.
    """
    await (await connect(database_url, application_name=application_name)).close()
    pool = Pool(
        database_url,
        connection_class=psycopg.AsyncConnection[TupleRow],
        kwargs={
            "autocommit": True,
            "application_name": application_name,
            "connect_timeout": 10,
            "prepare_threshold": 0,
            **_KEEPALIVE,
        },
        min_size=1,
        max_size=size,
        timeout=wait if wait is not None else 30.0,
        open=False,
        name=application_name,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for messages of one line."""
    return str(error).strip().partition("\n")[0]
