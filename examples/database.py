"""The tables of an example's domain: each example has a schema of its own in the database of the queues."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool

from delegator import resource

Connection = AsyncConnection[TupleRow]


@resource
async def database() -> AsyncIterator[AsyncConnectionPool[Connection]]:
    """Connections for the handlers of a worker process: `async with database.get().connection() as connection`."""
    async with AsyncConnectionPool(database_url(), min_size=1, max_size=10, open=False) as pool:
        yield pool


def database_url() -> str:
    """Return where the tables are. It holds a password, so it is never an argument of a job or of a program."""
    return os.environ["DELEGATOR_DATABASE_URL"]


@asynccontextmanager
async def connection() -> AsyncIterator[Connection]:
    """Connect, for programs and checks outside of handlers. Each statement is a transaction of its own."""
    async with await AsyncConnection.connect(database_url(), autocommit=True) as opened:
        yield opened


def schema_of(module: ModuleType) -> Path:
    """Return the file `schema.sql` beside a module. It holds the tables of an example, if there are any."""
    return Path(str(module.__file__)).with_name("schema.sql")


async def create_tables(file: Path) -> None:
    """Run a file of SQL statements that create what is not there yet."""
    statements = await asyncio.to_thread(file.read_bytes)
    async with connection() as opened, opened.transaction():
        # Two programs that start at once would both create.
        await opened.execute("SELECT pg_advisory_xact_lock(hashtext('delegator examples'))")
        await opened.execute(statements)


async def execute(query: str, *parameters: object) -> None:
    """Run a statement, for programs."""
    async with connection() as opened:
        await opened.execute(query.encode(), parameters)


async def fetch_all(query: str, *parameters: object) -> list[TupleRow]:
    """Return a query's rows."""
    async with connection() as opened:
        return await (await opened.execute(query.encode(), parameters)).fetchall()


async def fetch_dicts(query: str, *parameters: object) -> list[dict[str, Any]]:
    """Return a query's rows, each by the names of its columns: templates read so."""
    async with connection() as opened, opened.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query.encode(), parameters)).fetchall()


async def fetch_value(query: str, *parameters: object) -> object:
    """Return the first column of a query's first row; None without a row."""
    rows = await fetch_all(query, *parameters)
    return rows[0][0] if rows else None
