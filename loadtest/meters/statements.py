"""Counts the SQL statements of a PostgreSQL server with the extension pg_stat_statements.

The extension counts since its last reset, for all sessions of the server. A window is the difference of two looks, so
nobody else's counters are reset.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, LiteralString, Self

import psycopg
from psycopg import sql

from delegator.errors import ConfigurationError, first_line
from delegator.postgres.connections import connect
from loadtest.meters.statement_texts import OWN_MARK, described
from loadtest.results.statements import Statement, busiest_first, combined

SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track": "all",
        "pg_stat_statements.max": "10000",
        "pg_stat_statements.save": "off",
    }
)
"""Settings of a PostgreSQL server that counts statements."""

_CREATE: Final = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"
_SCHEMA: Final = f"""
SELECT {OWN_MARK} nspname, pg_has_role('pg_read_all_stats', 'USAGE')
  FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
 WHERE extname = 'pg_stat_statements'
"""
_COUNTERS: Final[LiteralString] = """
SELECT /* loadtest */ concat_ws('/', userid, dbid, queryid, toplevel), queryid::text, query, calls, rows,
       total_exec_time, wal_bytes::bigint, wal_fpi, shared_blks_hit + shared_blks_read
  FROM {schema}.pg_stat_statements
"""
_LIST: Final[LiteralString] = "SELECT /* loadtest */ dealloc, stats_reset FROM {schema}.pg_stat_statements_info"

_HOW: Final = (
    "add pg_stat_statements to shared_preload_libraries, restart PostgreSQL, and run CREATE EXTENSION "
    "pg_stat_statements in this database"
)


@dataclass(frozen=True, slots=True)
class _Look:
    moment: float
    entries: Mapping[str, tuple[str, Statement]]
    state: object


@dataclass(frozen=True, slots=True)
class Counted:
    """The statements of a window."""

    seconds: float
    """Length of the window."""
    statements: list[Statement]
    """What ran, the most frequent first, without the load test's own statements."""
    own_calls: int
    """Calls of the load test's own statements."""
    incomplete: bool
    """Whether PostgreSQL removed statements from its list, or the list was reset."""


async def create_extension(url: str) -> None:
    """Create the extension in a database of a server that was started with `SETTINGS`.

    Args:
        url: of the database. The user must be a superuser.
    """
    async with await connect(url, application_name="loadtest") as connection:
        await connection.execute(_CREATE)


class StatementMeter:
    """Counts the statements of a server between two looks. It has a connection in an `async with` block."""

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: of a database that has the extension. The user must be a superuser or a member of pg_read_all_stats.
        """
        self._url = url
        self._stack = AsyncExitStack()
        self._connection: psycopg.AsyncConnection
        self._schema = sql.Identifier("public")
        self._begin: _Look | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConfigurationError: the server does not count statements, or the user may not read them.
            DatabaseError: the server does not answer.
        """
        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(await connect(self._url, application_name="loadtest"))
            row = await (await self._connection.execute(_SCHEMA)).fetchone()
            if row is None:
                raise ConfigurationError(f"--statements: PostgreSQL has no extension pg_stat_statements here: {_HOW}")
            if not row[1]:
                raise ConfigurationError(
                    "--statements: the database user may not read statements of others: GRANT pg_read_all_stats to it"
                )
            self._schema = sql.Identifier(row[0])
            try:
                await self._look()
            except psycopg.Error as error:
                raise ConfigurationError(
                    f"--statements: PostgreSQL does not count statements ({first_line(error)}): {_HOW}"
                ) from None
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def begin(self) -> None:
        """Begin the window."""
        self._begin = await self._look()

    async def end(self) -> Counted:
        """End the window, and return what it counted."""
        assert self._begin is not None
        return _difference(self._begin, await self._look())

    async def _look(self) -> _Look:
        cursor = await self._connection.execute(sql.SQL(_LIST).format(schema=self._schema))
        state = await cursor.fetchone()
        cursor = await self._connection.execute(sql.SQL(_COUNTERS).format(schema=self._schema))
        entries = {
            key: (text, Statement(queryid, *described(text), *counts))
            for key, queryid, text, *counts in await cursor.fetchall()
            if queryid is not None
        }
        return _Look(time.monotonic(), entries, state)


def _difference(before: _Look, after: _Look) -> Counted:
    own_calls = 0
    found: dict[str, Statement] = {}
    for key, (text, statement) in after.entries.items():
        earlier = before.entries.get(key)
        change = statement if earlier is None else combined(statement, earlier[1], -1)
        if change.calls < 1:
            continue
        if OWN_MARK in text:
            own_calls += change.calls
            continue
        # One statement of several users or databases has one queryid only if the tables are the same.
        seen = found.get(statement.queryid)
        found[statement.queryid] = change if seen is None else combined(seen, change, 1)
    return Counted(
        seconds=after.moment - before.moment,
        statements=busiest_first(found.values()),
        own_calls=own_calls,
        incomplete=before.state != after.state,
    )
