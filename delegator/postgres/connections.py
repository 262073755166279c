"""Connections to PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from delegator.config import Settings
from delegator.errors import ConfigurationError, DatabaseError, first_line
from delegator.postgres.arrays import with_arrays
from delegator.postgres.sessions import (
    CLIENT_ENCODING,
    Connection,
    prepare_pooled,
    prepare_session,
    refuse_other_settings,
    shares_sessions,
)
from delegator.postgres.shares import Places, Share
from delegator.runtime.cancellation import cancel_requests, raise_if_cancelled

__all__ = ["SILENCE", "Connection", "DatabaseAddress", "Pool", "connect", "connection_pool", "no_database_url"]

SILENCE: Final = timedelta(seconds=15)
"""How long packets may stay unacknowledged before a connection counts as lost, unless the caller sets a limit."""

_TRUSTED_SECONDS: Final = 0.5
"""How long a pooled connection counts as sound after its last use."""

_URL: Final = "DELEGATOR_DATABASE_URL"
_DIRECT_URL: Final = "DELEGATOR_DIRECT_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """How to reach the database."""

    url: str = field(repr=False)
    """libpq connection string or URL. It may be that of a pooler."""
    direct_url: str | None = field(default=None, repr=False)
    """The same database without a pooler, for what needs a session of its own; None: `url`."""
    schema: str | None = None
    """The schema of the tables; None: the first one of the role's `search_path`."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take what the settings say."""
        direct = settings.direct_database_url
        return cls(
            settings.database_url.get_secret_value(),
            None if direct is None else direct.get_secret_value(),
            settings.schema_name,
        )

    @property
    def session(self) -> Mapping[str, str]:
        """Settings of each session that follow from the address."""
        return {} if self.schema is None else {"search_path": self.schema}


class Pool(AsyncConnectionPool[Connection]):
    """A pool that looks at a connection that was idle before it lends it.

    An outage leaves broken connections in a pool. Without this each of them would fail one caller after the server is
    back, and look like another outage.
    """

    def __init__(self, *args: Any, common: int, **options: Any) -> None:
        """Prepare the pool.

        Args:
            args: those of the base class.
            common: number of connections that are for all queues. Each queue has one more of its own.
            options: those of the base class.
        """
        self._used_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._places = Places(common)
        super().__init__(*args, **options)

    def share(self, queue: str) -> Share:
        """Return what a queue has of this pool. Statements that may wait for a lock of its table belong there.

        Args:
            queue: the queue.
        """
        return Share(self, self._places, queue, self.timeout)

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
    database: str | DatabaseAddress,
    *,
    application_name: str,
    silence: timedelta = SILENCE,
    replication: bool = False,
    session_for: str | None = None,
    **session: str,
) -> Connection:
    """Open one connection in autocommit mode, and set in its session what the statements depend on.

    Args:
        database: libpq connection string or URL, or both addresses of the database.
        application_name: shown in `pg_stat_activity`.
        silence: how long packets may stay unacknowledged before the connection counts as lost.
        replication: open a replication connection. It can stream the WAL, and has only the simple query protocol.
        session_for: what needs a session of its own, for the error message; None: single statements and transactions,
            which may go through a pooler.
        session: further settings of the session, by name.

    Raises:
        ConfigurationError: the address is not one, or leads to a pooler that shares the session that is needed.
        DatabaseError: the server can't be reached, or refuses the connection.
    """
    url, variable = _address(database, direct=session_for is not None or replication)
    if isinstance(database, DatabaseAddress):
        session = {**database.session, **session}
    connection = await _open(url, variable, application_name, silence, replication=replication)
    try:
        if await prepare_session(connection, more=session) or session_for is None:
            return connection
        another = partial(_open, url, variable, application_name, silence)
        if not await shares_sessions(connection, another):
            await prepare_pooled(connection, session)
            return connection
    except psycopg.OperationalError as error:
        await connection.close()
        raise DatabaseError(f"can't connect to PostgreSQL ({variable}): {first_line(error)}") from None
    except BaseException:
        await connection.close()
        raise
    await connection.close()
    raise ConfigurationError(
        f"{variable} leads to a pooler that shares sessions, such as PgBouncer in transaction mode, but {session_for} "
        f"needs a session of its own: set {_DIRECT_URL} to the address of PostgreSQL itself"
    )


@asynccontextmanager
async def connection_pool(
    database: str | DatabaseAddress,
    *,
    application_name: str,
    size: int,
    queues: int = 1,
    silence: timedelta = SILENCE,
    lock_limit: timedelta | None = None,
    by_key: bool = False,
) -> AsyncIterator[Pool]:
    """Open a pool of connections in autocommit mode.

    Args:
        database: libpq connection string or URL, or both addresses of the database.
        application_name: shown in `pg_stat_activity`.
        size: largest number of connections that one queue uses.
        queues: how many queues share the pool. Each but the first may open one more connection.
        silence: how long packets may stay unacknowledged before a connection counts as lost. A caller waits half as
            long for a free connection.
        lock_limit: how long a statement waits for a lock, such as that of an ALTER TABLE, before it fails; None: as
            long as it takes. It has no effect through a pooler that shares sessions.
        by_key: the statements name the rows that they read.

    Raises:
        ConfigurationError: the address is not one, or leads to a pooler whose sessions have unsuitable settings.
        DatabaseError: the server can't be reached at the start.
    """
    url, variable = _address(database)
    connection = await _open(url, variable, application_name, silence)
    more = database.session if isinstance(database, DatabaseAddress) else {}
    async with connection:
        if not await prepare_session(connection, more=more):
            await refuse_other_settings(connection, more)
    limits = {} if lock_limit is None else {"lock_timeout": _milliseconds(lock_limit)}
    wait = silence.total_seconds() / 2
    pool = Pool(
        url,
        common=size - 1,
        connection_class=psycopg.AsyncConnection[TupleRow],
        kwargs={
            "autocommit": True,
            "application_name": application_name,
            "client_encoding": CLIENT_ENCODING,
            "context": with_arrays(),
            "prepare_threshold": 0,
            **_silence_limits(silence),
        },
        min_size=1,
        max_size=size - 1 + queues,
        timeout=wait,
        configure=partial(_configure, by_key=by_key, more={**more, **limits}),
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
    await connection.execute("SELECT set_config('lock_timeout', %s, false)", (_milliseconds(limit),))


def no_database_url(variable: str = _URL) -> ConfigurationError:
    """Return the error for a database URL that libpq can't read. psycopg raises ProgrammingError for it."""
    return ConfigurationError(f"{variable} is neither a URL (postgresql://user@host/db) nor a libpq connection string")


async def _open(
    url: str, variable: str, application_name: str, silence: timedelta, *, replication: bool = False
) -> Connection:
    streaming: dict[str, Any] = (
        {"replication": "database", "cursor_factory": psycopg.AsyncClientCursor} if replication else {}
    )
    try:
        return await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            application_name=application_name,
            client_encoding=CLIENT_ENCODING,
            context=with_arrays(),
            **_silence_limits(silence),
            **streaming,
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(f"can't connect to PostgreSQL ({variable}): {first_line(error)}") from None
    except psycopg.ProgrammingError:
        raise no_database_url(variable) from None


def _address(database: str | DatabaseAddress, *, direct: bool = False) -> tuple[str, str]:
    """Return the address to use, and the name of the variable that holds it."""
    if isinstance(database, str):
        return database, _URL
    if direct and database.direct_url is not None:
        return database.direct_url, _DIRECT_URL
    return database.url, _URL


async def _configure(connection: Connection, *, by_key: bool, more: Mapping[str, str]) -> None:
    await prepare_session(connection, by_key=by_key, more=more)


def _milliseconds(limit: timedelta) -> str:
    return str(round(limit.total_seconds() * 1000))


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
