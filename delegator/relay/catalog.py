"""What the relay asks of PostgreSQL's catalogs, and does to its slot.

Everything is asked over the replication connection itself, which knows the simple query protocol only: cursors
bind on the client's side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from delegator.errors import ConfigurationError, SchemaError
from delegator.relay.options import Feed
from delegator.relay.pgoutput import parse_lsn
from delegator.relay.render import Source

Connection = AsyncConnection[TupleRow]

_TABLE = """
SELECT n.nspname, c.relname,
       ARRAY(SELECT a.attname::text
             FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
             WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)"""
_PUBLICATION = "SELECT pubinsert FROM pg_publication WHERE pubname = %s"
_PUBLISHED = "SELECT 1 FROM pg_publication_tables WHERE pubname = %s AND schemaname = %s AND tablename = %s"
_SLOT = """
SELECT plugin, database, active_pid, coalesce(wal_status = 'lost', false), confirmed_flush_lsn::text
FROM pg_replication_slots WHERE slot_name = %s"""


@dataclass(frozen=True)
class History:
    """Which history WAL positions belong to: they can be compared only within one."""

    system_id: str
    """The cluster."""
    timeline: int
    """Grows when a standby is promoted and when a backup is restored."""


@dataclass(frozen=True)
class Slot:
    """The state of a replication slot."""

    active_pid: int | None
    """The walsender that holds it; None: nobody does."""
    lost: bool
    """Invalidated: the WAL it needs is gone."""
    confirmed: int
    """Position up to which it was confirmed."""


async def inspect(connection: Connection, feed: Feed) -> tuple[Source, History]:
    """Check that a queue can be streamed.

    Raises:
        ConfigurationError: the server does not do logical decoding.
        SchemaError: the table or the publication is missing or incomplete.
    """
    row = await _one(connection, "IDENTIFY_SYSTEM")
    assert row is not None
    system_id, timeline, _position, database = row
    (wal_level,) = await _one(connection, "SHOW wal_level") or ("",)
    if wal_level != "logical":
        raise ConfigurationError(
            f"PostgreSQL runs with wal_level={wal_level}: set wal_level = logical in postgresql.conf and restart it"
        )
    found = await _one(connection, _TABLE, feed.table)
    if found is None:
        raise SchemaError(f"table {feed.table} does not exist in database {database}: run `delegator migrate`")
    publishes = await _one(connection, _PUBLICATION, feed.publication)
    if publishes is None:
        raise SchemaError(
            f"publication {feed.publication} does not exist in database {database}: run `delegator migrate`"
        )
    if not publishes[0]:
        raise SchemaError(f"publication {feed.publication} does not publish inserts: run `delegator migrate`")
    table = str(found[0]), str(found[1])
    if await _one(connection, _PUBLISHED, feed.publication, *table) is None:
        raise SchemaError(f"table {feed.table} is not in publication {feed.publication}: run `delegator migrate`")
    return Source(database, connection.info.host, {table: frozenset(found[2])}), History(system_id, timeline)


async def find_slot(connection: Connection, feed: Feed) -> Slot | None:
    """Look at the slot; None when it does not exist.

    Raises:
        ConfigurationError: a slot of that name serves something else.
    """
    if not re.fullmatch(r"[a-z0-9_]{1,63}", feed.slot):
        raise ConfigurationError(f"DELEGATOR_SLOT: {feed.slot!r} is not a slot name (a-z, 0-9, _; at most 63)")
    row = await _one(connection, _SLOT, feed.slot)
    if row is None:
        return None
    plugin, database, active_pid, lost, confirmed = row
    if plugin != "pgoutput" or database != connection.info.dbname:
        raise ConfigurationError(
            f"replication slot {feed.slot} belongs to plugin {plugin}, database {database}: choose another name "
            "with DELEGATOR_SLOT"
        )
    return Slot(active_pid, lost, parse_lsn(confirmed) if confirmed else 0)


async def create_slot(connection: Connection, feed: Feed) -> datetime:
    """Create the slot; return a moment by the server's clock from which on every insert is streamed."""
    await connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (feed.slot,))
    return await now(connection)


async def drop_slot(connection: Connection, feed: Feed) -> None:
    """Drop the slot."""
    await connection.execute("SELECT pg_drop_replication_slot(%s)", (feed.slot,))


async def terminate(connection: Connection, pid: int) -> None:
    """End a walsender of ours whose connection broke, so that it lets go of the slot."""
    await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


async def now(connection: Connection) -> datetime:
    """Return the server's clock."""
    row = await _one(connection, "SELECT clock_timestamp()")
    assert row is not None
    moment: datetime = row[0]
    return moment


async def _one(connection: Connection, query: Any, *arguments: object) -> TupleRow | None:
    cursor = await connection.execute(query, arguments or None)
    return await cursor.fetchone()
