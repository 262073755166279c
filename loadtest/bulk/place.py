"""Where the bulk path is measured: the servers, and a database beside the queue's for what is compared with it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import conninfo, sql

from delegator.dev import StackOptions, embedded_stack
from delegator.errors import DatabaseError
from delegator.store.database import connect, first_line
from loadtest.stack import DATABASE_VARIABLE, TEMPORAL_VARIABLE, servers

SAFETY: Final = ("fsync", "synchronous_commit", "full_page_writes", "wal_level")
"""PostgreSQL's settings that decide what a commit is worth."""


@dataclass(frozen=True, slots=True)
class Place:
    """The servers of a measurement."""

    environment: Mapping[str, str]
    """What reaches them; added to this process's own."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """Their processes, where they are ours."""


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """Provide the servers that the environment names, else an embedded stack.

    Raises:
        ConfigurationError: the environment names half of what is needed.
        DependencyError: a server can't be reached or does not start.
    """
    if os.environ.get(TEMPORAL_VARIABLE) or os.environ.get(DATABASE_VARIABLE):
        async with servers(delegates=True) as available:
            yield Place(available.environment)
        return
    async with embedded_stack(StackOptions(headless=True)) as stack:
        pids = {name: pid for name, pid in stack.pids.items() if name in ("postgres", "relay")}
        yield Place(stack.environment, pids)


@asynccontextmanager
async def scratch_database(url: str) -> AsyncIterator[str]:
    """Provide a database of our own on the server of another one.

    What is written to it costs the server's log as much as elsewhere, and is not decoded for the queue's stream.

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
                "the load test needs the right to (CREATEDB)"
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
