"""Connections to PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from delegator.errors import ConfigurationError, DatabaseError, first_line
from delegator.postgres.arrays import with_arrays
from delegator.runtime.cancellation import cancel_requests, raise_if_cancelled

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

SILENCE: Final = timedelta(seconds=15)
"""How long packets may stay unacknowledged before a connection counts as lost, unless the caller sets a limit."""

_TRUSTED_SECONDS: Final = 0.5
"""How long a pooled connection counts as sound after its last use."""

_BY_KEY: Final = b"""
SELECT set_config('enable_seqscan', 'off', false), set_config('random_page_cost', '1', false)
"""


class _CheckedPool(AsyncConnectionPool[Connection]):
    """A pool that looks at a connection that was idle before it lends it.

    An outage leaves broken connections in a pool. Without this each of them would fail one caller after the server is
    back, and look like another outage.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Prepare the pool; the arguments are those of its base class."""
        self._used_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        super().__init__(*args, **options)

    async def getconn(self, timeout: float | None = None) -> Connection:
        """Lend a connection. Broken ones are replaced first.

        Args:
            timeout: how long to wait, in seconds; None: the pool's own limit.
        """
        give_up_at = time.monotonic() + (self.timeout if timeout is None else timeout)
        known = cancel_requests()
        while True:
            connection = await super().getconn(give_up_at - time.monotonic())
            try:
                raise_if_cancelled(known)  # the pool waits with `asyncio.wait_for`
            except asyncio.CancelledError:
                await super().putconn(connection)
                raise
            if time.monotonic() - self._used_at.get(connection, float("-inf")) < _TRUSTED_SECONDS:
                return connection
            try:
                await self.check_connection(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError):  # it is lost
                await super().putconn(connection)
            except BaseException:
                await super().putconn(connection)
                raise
            else:
                return connection

    async def putconn(self, conn: Connection) -> None:
        """Take a connection back. If it broke, the others are not trusted either."""
        if conn.closed:
            self._used_at.clear()
        else:
            self._used_at[conn] = time.monotonic()
        await super().putconn(conn)


async def connect(
    database_url: str, *, application_name: str, silence: timedelta = SILENCE, replication: bool = False
) -> Connection:
    """Open one connection in autocommit mode.

    Args:
        database_url: libpq connection string or URL.
        application_name: shown in `pg_stat_activity`.
        silence: how long packets may stay unacknowledged before the connection counts as lost.
        replication: open a replication connection. It can stream the WAL, and has only the simple query protocol.

    Raises:
        ConfigurationError: `database_url` is not one.
        DatabaseError: the server can't be reached, or refuses the connection.
    """
    streaming: dict[str, Any] = (
        {"replication": "database", "cursor_factory": psycopg.AsyncClientCursor} if replication else {}
    )
    try:
        return await psycopg.AsyncConnection.connect(
            database_url,
            autocommit=True,
            application_name=application_name,
            context=with_arrays(),
            **_silence_limits(silence),
            **streaming,
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(f"can't connect to PostgreSQL (DELEGATOR_DATABASE_URL): {first_line(error)}") from None
    except psycopg.ProgrammingError:
        raise no_database_url() from None


@asynccontextmanager
async def connection_pool(
    database_url: str,
    *,
    application_name: str,
    size: int,
    silence: timedelta = SILENCE,
    by_key: bool = False,
) -> AsyncIterator[Pool]:
    """Open a pool of connections in autocommit mode.

    Args:
        database_url: libpq connection string or URL.
        application_name: shown in `pg_stat_activity`.
        size: largest number of connections.
        silence: how long packets may stay unacknowledged before a connection counts as lost. A caller waits half as
            long for a free connection.
        by_key: the statements name the rows that they read. PostgreSQL's default costs suit hard disks: with them a
            batch would read a whole table of a few hundred pages.

    Raises:
        ConfigurationError: `database_url` is not one.
        DatabaseError: the server can't be reached at the start.
    """
    await (await connect(database_url, application_name=application_name, silence=silence)).close()
    wait = silence.total_seconds() / 2
    pool = _CheckedPool(
        database_url,
        connection_class=psycopg.AsyncConnection[TupleRow],
        kwargs={
            "autocommit": True,
            "application_name": application_name,
            "context": with_arrays(),
            "prepare_threshold": 0,
            **_silence_limits(silence),
        },
        min_size=1,
        max_size=size,
        timeout=wait,
        configure=_read_by_key if by_key else None,
        # The pool doubles its pauses between attempts without a limit. So it gives up soon, and its callers try again.
        reconnect_timeout=wait,
        open=False,
        name=application_name,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def give_up_locks(connection: Connection, limit: timedelta) -> None:
    """Let statements of a connection fail that wait for a lock for longer than a limit."""
    milliseconds = str(round(limit.total_seconds() * 1000))
    await connection.execute("SELECT set_config('lock_timeout', %s, false)", (milliseconds,))


def no_database_url() -> ConfigurationError:
    """Return the error for a database URL that libpq can't read. psycopg raises ProgrammingError for it."""
    return ConfigurationError(
        "DELEGATOR_DATABASE_URL is neither a URL (postgresql://user@host/db) nor a libpq connection string"
    )


async def _read_by_key(connection: Connection) -> None:
    await connection.execute(_BY_KEY)


def _silence_limits(silence: timedelta) -> dict[str, Any]:
    seconds = silence.total_seconds()
    probe = max(1, round(seconds / 4))
    return {
        "connect_timeout": max(2, round(seconds)),
        "keepalives_idle": probe,
        "keepalives_interval": probe,
        "keepalives_count": 3,
        "tcp_user_timeout": round(seconds * 1000),
    }
