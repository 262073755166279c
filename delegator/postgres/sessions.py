"""What a session of the engine depends on, whatever its role, its database or the client's environment say.

A role, a database and the server's configuration file give each session its settings. Some of them change what a
statement means, or how its result is written. Each connection of the engine sets those when it opens.

A pooler such as PgBouncer stands between a connection and its session. In transaction mode a session serves several
clients in turn, so nothing may be set in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from delegator.errors import ConfigurationError

Connection = psycopg.AsyncConnection[TupleRow]

CLIENT_ENCODING: Final = "utf8"
"""psycopg reads text in this encoding. Else it is the database's, and psycopg reads text of SQL_ASCII as bytes."""

_MEANING: Final[Mapping[str, str]] = {
    "DateStyle": "ISO",  # psycopg reads no other
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",  # psycopg does not know every zone that PostgreSQL knows
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",  # the comparison with the declarations reads expressions as PostgreSQL writes them
    "extra_float_digits": "1",
    # The statements wait for locks and go on with the newest row. With another level they would fail instead.
    "default_transaction_isolation": "read committed",
}
_LIMITS: Final[Mapping[str, str]] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",  # it would end the leader's session, and those that listen
    "transaction_timeout": "0",  # PostgreSQL 17
    # A job that was enqueued is in the workflow's history. It must survive a crash of the server.
    "synchronous_commit": "on",
}
# PostgreSQL's default costs suit hard disks: with them a batch would read a whole table of a few hundred pages.
_BY_KEY: Final[Mapping[str, str]] = {"enable_seqscan": "off", "random_page_cost": "1"}

# A setting that this PostgreSQL does not know is NULL, and left out. `synchronous_commit` may also be `local` or
# `remote_apply`, by the administrator's choice: only `off` loses jobs.
_SET: Final = b"""
SELECT pg_backend_pid(), (
    SELECT count(set_config(name, value, false))
    FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted (name, value)
    WHERE pg_backend_pid() = %(pid)s
      AND CASE name WHEN 'synchronous_commit' THEN current_setting(name) = 'off'
                    ELSE split_part(current_setting(name, true), ',', 1) <> value END)
"""
_OTHER: Final = b"""
SELECT name, value FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted (name, value)
WHERE split_part(current_setting(name, true), ',', 1) <> value
"""
_PID: Final = b"SELECT pg_backend_pid()"
_ROUNDS: Final = 5
_ROUND_SECONDS: Final = 5.0


async def prepare_session(
    connection: Connection, *, by_key: bool = False, more: Mapping[str, str] = MappingProxyType({})
) -> bool:
    """Set what the engine's statements depend on. Return whether the connection has its session for itself.

    If a pooler stands between, nothing is set, and the connection prepares no statements.

    Args:
        connection: a new one.
        by_key: the statements name the rows that they read.
        more: further settings, by name.
    """
    wanted = {**_MEANING, **_LIMITS, **(_BY_KEY if by_key else {}), **more}
    if await _set(connection, wanted, connection.pgconn.backend_pid):
        return True
    connection.prepare_threshold = None
    return False


async def prepare_pooled(connection: Connection, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Set the same in the session of a pooler that gives each client a session of its own (session mode)."""
    await _set(connection, {**_MEANING, **_LIMITS, **more}, await _pid(connection))


async def refuse_other_settings(connection: Connection, more: Mapping[str, str]) -> None:
    """Check that the sessions of a pooler have the settings that the engine can't set there.

    Args:
        connection: to the pooler.
        more: further settings that are needed, by name.

    Raises:
        ConfigurationError: one differs. The message has the statement that mends it.
    """
    wanted = {**_MEANING, **more}
    cursor = await connection.execute(_OTHER, {"names": list(wanted), "values": list(wanted.values())})
    if found := await cursor.fetchone():
        name, value = found
        info = connection.info
        raise ConfigurationError(
            f"{name} is not {value} in the sessions of the pooler at DELEGATOR_DATABASE_URL, where it can't be set: "
            f'ALTER ROLE "{info.user}" IN DATABASE "{info.dbname}" SET {name} = \'{value}\', then restart the pooler'
        )


async def shares_sessions(connection: Connection, connect: Callable[[], Awaitable[Connection]]) -> bool:
    """Return whether a pooler lets several clients use one session in turn (PgBouncer's transaction mode).

    The session of a second client is held by a transaction. If sessions are shared, it is usually the one that the
    first client used last, and then the first client gets another one.

    Args:
        connection: to the pooler.
        connect: opens another one.
    """
    second: Any = None
    try:
        # In session mode a pooler whose sessions are all in use lets the second client wait.
        async with asyncio.timeout(_ROUND_SECONDS):
            second = await connect()
            for _ in range(_ROUNDS):
                own = await _pid(connection)
                async with second.transaction():
                    if await _pid(second) == own or await _pid(connection) != own:
                        return True
    except TimeoutError:
        return False
    finally:
        if second is not None:
            await second.close()
    return False


async def _set(connection: Connection, wanted: Mapping[str, str], pid: int) -> bool:
    parameters = {"names": list(wanted), "values": list(wanted.values()), "pid": pid}
    row = await (await connection.execute(_SET, parameters, prepare=False)).fetchone()
    return row is not None and row[0] == pid


async def _pid(connection: Connection) -> int:
    row = await (await connection.execute(_PID, prepare=False)).fetchone()
    return 0 if row is None else int(row[0])
