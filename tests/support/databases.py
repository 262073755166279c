"""Fresh migrated databases on one PostgreSQL server."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from delegator_schema.queues import DEFAULT_QUEUE
from psycopg import sql
from pydantic import SecretStr

from delegator.config import Settings
from delegator.dev.migrations import migrate_database
from delegator.dev.postgres import Postgres

_TEMPLATE = "delegator_template"


@dataclass(frozen=True)
class Database:
    """One migrated database."""

    url: str
    """For its owner, a superuser."""
    name: str
    """Its name on the server."""
    settings: Settings
    """Settings that name it and its queues, with a replication slot name of its own."""


class Databases:
    """Makes and drops databases; replication slots made in one go with it."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._template = asyncio.Lock()
        self._has_template = False

    async def create(self, queues: tuple[str, ...] = (DEFAULT_QUEUE,), *, migrated: bool = True) -> Database:
        """Create a database; `migrated=False` leaves it empty."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        if migrated:
            await self._ensure_template()
        url = await self.server.ensure_database(name, template=_TEMPLATE if migrated else None)
        if migrated and queues != (DEFAULT_QUEUE,):
            await migrate_database(url, queues)
        settings = Settings.load(database_url=SecretStr(url), queues=queues, slot=f"slot_{name}")
        return Database(url, name, settings)

    async def drop(self, database: Database) -> None:
        """Drop a database, its replication slots and whoever is still connected."""
        async with await psycopg.AsyncConnection.connect(self.server.url("postgres"), autocommit=True) as connection:
            async with asyncio.timeout(20):
                while await _drop_slots(connection, database.name):
                    await asyncio.sleep(0.02)
            await connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name))
            )

    @asynccontextmanager
    async def fresh(
        self, queues: tuple[str, ...] = (DEFAULT_QUEUE,), *, migrated: bool = True
    ) -> AsyncIterator[Database]:
        """Lend a database for the length of a block."""
        database = await self.create(queues, migrated=migrated)
        try:
            yield database
        finally:
            await self.drop(database)

    async def _ensure_template(self) -> None:
        async with self._template:
            if not self._has_template:
                await migrate_database(await self.server.ensure_database(_TEMPLATE), (DEFAULT_QUEUE,))
                self._has_template = True


async def _drop_slots(connection: psycopg.AsyncConnection, database: str) -> bool:
    cursor = await connection.execute(
        "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", (database,)
    )
    slots = await cursor.fetchall()
    for slot, active_pid in slots:
        if active_pid is not None:
            await connection.execute("SELECT pg_terminate_backend(%s)", (active_pid,))
            continue
        try:
            await connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
        except (psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
            continue
    return bool(slots)
