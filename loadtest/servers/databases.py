"""PostgreSQL's settings, and a database of its own for what is compared with the queue."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import conninfo, sql

from delegator.errors import DatabaseError, first_line
from delegator.postgres.connections import connect

SAFETY: Final = ("fsync", "synchronous_commit", "full_page_writes", "wal_level")
"""PostgreSQL's settings that decide how safe a commit is."""


@asynccontextmanager
async def scratch_database(url: str) -> AsyncIterator[str]:
    """Provide a database of our own on the server of another one.

    Writes to it cost as much write-ahead log as elsewhere, but are not decoded for the queue's stream.

    Args:
        url: of the other database.

    Raises:
        DatabaseError: the server refuses.
    """
    name = f"loadtest_{uuid.uuid4().hex[:8]}"
    async with await connect(url, application_name="loadtest") as connection:
        try:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            raise DatabaseError(
                f"PostgreSQL refuses to create a database for the comparison ({first_line(error)}): "
                "the load test needs the right CREATEDB"
            ) from None
        try:
            yield _with_database(url, name)
        finally:
            await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def server_settings(url: str) -> tuple[dict[str, str], str]:
    """Return the settings in `SAFETY` as our sessions have them, and PostgreSQL's version.

    Args:
        url: of a database of the server.
    """
    async with await connect(url, application_name="loadtest") as connection:
        query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
        cursor = await connection.execute(query, (list(SAFETY),))
        settings: dict[str, str] = dict(await cursor.fetchall())
        return settings, connection.info.parameter_status("server_version") or ""


def _with_database(url: str, name: str) -> str:
    if "://" in url:
        return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    return conninfo.make_conninfo(url, dbname=name)
