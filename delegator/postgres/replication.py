"""Logical replication: catalogs of publications, replication slots, and the command that starts a stream.

Most statements run on a replication connection. It has only the simple query protocol, so the client puts the
parameters into the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from delegator.errors import ConfigurationError, DatabaseError
from delegator.postgres.connections import Connection, DatabaseAddress, connect
from delegator.postgres.queue_republish import has_published_before_statement, published_before_statement

_WAL_SENDER_TIMEOUT: Final = "20s"
"""After what time a WAL sender releases the slot of a silent client."""

_APPLICATION: Final = "delegator-relay"
_NO_REPLICATION: Final = ("permission denied to start WAL sender", "must be superuser or replication role")
_POOLER_REFUSES: Final = "unsupported startup parameter"
_SERVER: Final = b"IDENTIFY_SYSTEM"
_WAL_LEVEL: Final = b"SHOW wal_level"
_TABLE: Final = b"""
SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%s)"""
_PUBLICATION: Final = b"SELECT pubinsert FROM pg_catalog.pg_publication WHERE pubname = %s"
_PUBLISHED: Final = b"""
SELECT attnames::text[], rowfilter IS NOT NULL FROM pg_catalog.pg_publication_tables
WHERE pubname = %s AND schemaname = %s AND tablename = %s"""
_SLOT: Final = b"""
SELECT plugin, database, active_pid, coalesce(wal_status = 'lost', false), confirmed_flush_lsn::text,
    coalesce((SELECT application_name = %s FROM pg_catalog.pg_stat_activity WHERE pid = active_pid), false),
    (to_jsonb(slot) ->> 'failover')::bool, coalesce((to_jsonb(slot) ->> 'synced')::bool, false)
FROM pg_catalog.pg_replication_slots AS slot WHERE slot_name = %s"""
_CREATE_SLOT: Final = b"SELECT pg_create_logical_replication_slot(%s, 'pgoutput')"
_CREATE_FAILOVER_SLOT: Final = b"SELECT pg_create_logical_replication_slot(%s, 'pgoutput', failover => true)"
_KEEP_IN_FAILOVER: Final = sql.SQL("ALTER_REPLICATION_SLOT {slot} (FAILOVER true)")
_FAILOVER_SINCE: Final = 17_00_00
"""The first version whose standbys can have copies of slots. (PostgreSQL manual, 47.2.3 "Replication Slot
Synchronization".)"""
_DROP_SLOT: Final = b"SELECT pg_drop_replication_slot(%s)"
_TERMINATE: Final = b"SELECT pg_terminate_backend(%s)"
_BLOCKER: Final = b"""
SELECT blocker.pid, session.usename::text, session.application_name, session.datname::text, session.xact_start::text,
       prepared.gid, prepared.owner::text
FROM unnest(pg_blocking_pids(%s)) AS blocker (pid)
LEFT JOIN pg_catalog.pg_stat_activity AS session USING (pid)
LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared ON blocker.pid = 0
ORDER BY session.xact_start, prepared.prepared LIMIT 1"""
_CLOCK: Final = b"SELECT clock_timestamp()"
_START: Final = sql.SQL(
    "START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names {publications})"
)


@dataclass(frozen=True, slots=True)
class Server:
    """The server and the database of a replication connection."""

    system_id: str
    """Identifies the cluster."""
    timeline: int
    """Grows when a standby is promoted and when a backup is restored."""
    database: str
    """The database's name."""
    wal_level: str
    """The server's setting of that name; only `logical` can be streamed."""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """The state of a table in a publication."""

    schema: str | None
    """The table's schema; None: the table does not exist."""
    publication_exists: bool
    """Whether the publication exists."""
    inserts: bool
    """Whether it publishes inserts."""
    columns: tuple[str, ...] | None
    """The published columns, in the order of the table; None: the table is not in the publication."""
    filtered: bool
    """Whether it publishes only rows that meet a condition."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The state of a replication slot."""

    plugin: str
    """The plugin that decodes the WAL."""
    database: str | None
    """The slot's database; None: it is a physical slot."""
    active_pid: int | None
    """Process id of the WAL sender that uses the slot; None: the slot is free."""
    lost: bool
    """Whether the server has removed WAL that the slot needs."""
    confirmed: int
    """The confirmed position in the WAL; 0: not known."""
    read_by_relay: bool
    """Whether the WAL sender that uses the slot serves a relay."""
    failover: bool | None
    """Whether standbys keep a copy of the slot. None: this version of PostgreSQL can't."""
    synced: bool
    """Whether this server was a standby and has the slot as a copy from its primary."""


async def connect_replication(database: str | DatabaseAddress) -> Connection:
    """Open a connection that can stream the WAL.

    Args:
        database: libpq connection string or URL, or both addresses of the database.

    Raises:
        ConfigurationError: the address is not one, or its role may not stream the WAL.
        DatabaseError: the server can't be reached, or refuses the connection.
    """
    try:
        return await connect(
            database, application_name=_APPLICATION, replication=True, wal_sender_timeout=_WAL_SENDER_TIMEOUT
        )
    except DatabaseError as error:
        if any(text in str(error) for text in _NO_REPLICATION):
            raise ConfigurationError(
                "the role in DELEGATOR_DATABASE_URL may not stream the WAL: ALTER ROLE ... REPLICATION, or use another"
            ) from None
        if _POOLER_REFUSES in str(error):
            raise ConfigurationError(
                "a pooler such as PgBouncer can't stream the WAL: set DELEGATOR_DIRECT_DATABASE_URL to the address of "
                "PostgreSQL itself"
            ) from None
        raise


async def connect_beside(database: str | DatabaseAddress) -> Connection:
    """Open an ordinary connection, for statements that run while the replication connection streams.

    Args:
        database: libpq connection string or URL, or both addresses of the database.

    Raises:
        ConfigurationError: the address is not one.
        DatabaseError: the server can't be reached, or refuses the connection.
    """
    return await connect(database, application_name=_APPLICATION)


async def identify(connection: Connection) -> Server:
    """Return the server and the database of a replication connection."""
    system_id, timeline, _position, database = await _row(connection, _SERVER)
    (wal_level,) = await _row(connection, _WAL_LEVEL)
    return Server(system_id, timeline, database, wal_level)


async def find_published(connection: Connection, table: str, publication: str) -> PublishedTable:
    """Return the state of `table` in `publication`."""
    found = await _one(connection, _TABLE, table)
    schema = None if found is None else str(found[0])
    publishes = await _one(connection, _PUBLICATION, publication)
    published = None if schema is None else await _one(connection, _PUBLISHED, publication, schema, table)
    return PublishedTable(
        schema,
        publication_exists=publishes is not None,
        inserts=publishes is not None and bool(publishes[0]),
        columns=None if published is None else tuple(published[0]),
        filtered=published is not None and bool(published[1]),
    )


async def find_slot(connection: Connection, slot: str) -> Slot | None:
    """Return the state of a slot; None: it does not exist."""
    row = await _one(connection, _SLOT, _APPLICATION, slot)
    if row is None:
        return None
    plugin, database, active_pid, lost, confirmed, *rest = row
    return Slot(plugin or "none", database, active_pid, lost, parse_lsn(confirmed) if confirmed else 0, *rest)


async def create_slot(connection: Connection, slot: str) -> datetime:
    """Create a slot. Return a time, by the server's clock, from which it streams every insert.

    From PostgreSQL 17 on, standbys that synchronize slots keep a copy.
    """
    has_failover = connection.info.server_version >= _FAILOVER_SINCE
    await connection.execute(_CREATE_FAILOVER_SLOT if has_failover else _CREATE_SLOT, (slot,))
    return await clock(connection)


async def keep_in_failover(connection: Connection, slot: str) -> None:
    """Let standbys that synchronize slots keep a copy of an existing slot.

    Args:
        connection: a replication connection.
        slot: its name.

    Raises:
        psycopg.errors.ObjectInUse: a WAL sender uses it.
    """
    await connection.execute(_KEEP_IN_FAILOVER.format(slot=sql.Identifier(slot)))


async def blocker(connection: Connection, pid: int) -> str | None:
    """Return whose transaction a session waits for; None: it waits for none.

    Args:
        connection: an ordinary connection.
        pid: the backend's process id.
    """
    row = await _one(connection, _BLOCKER, pid)
    if row is None:
        return None
    blocking_pid, role, application, database, since, gid, owner = row
    if gid is not None:
        return f"the prepared transaction {gid} of role {owner}: COMMIT PREPARED or ROLLBACK PREPARED ends it"
    began = "" if since is None else f", since {since}"
    return f"a transaction of session {blocking_pid} (role {role}, {application or 'no name'}, {database}{began})"


async def drop_slot(connection: Connection, slot: str) -> None:
    """Drop a slot.

    Raises:
        psycopg.errors.ObjectInUse: a WAL sender uses it.
    """
    await connection.execute(_DROP_SLOT, (slot,))


async def terminate(connection: Connection, pid: int) -> None:
    """End a WAL sender, so that it releases its slot.

    Raises:
        psycopg.errors.InsufficientPrivilege: it belongs to a role of which this one is no member.
    """
    await connection.execute(_TERMINATE, (pid,))


async def clock(connection: Connection) -> datetime:
    """Return the time by the server's clock."""
    moment: datetime = (await _row(connection, _CLOCK))[0]
    return moment


async def has_unclaimed(connection: Connection, table: str, before: datetime) -> bool:
    """Return whether there are jobs that no worker has claimed and that were published before a time.

    Raises:
        psycopg.errors.InsufficientPrivilege: the role may not read the table.
    """
    cursor = await connection.execute(has_published_before_statement(table), {"before": before})
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def republish_unclaimed(connection: Connection, table: str, before: datetime, limit: int) -> int:
    """Republish jobs that no worker has claimed.

    Args:
        connection: an ordinary connection.
        table: a queue's table.
        before: republish jobs that were published before this time.
        limit: largest number of rows.

    Returns:
        The number of republished jobs. If it is less than `limit`, there are no more.

    Raises:
        psycopg.errors.InsufficientPrivilege: the role may not write to the table.
    """
    cursor = await connection.execute(published_before_statement(table), {"before": before, "limit": limit})
    return cursor.rowcount


def start_command(connection: Connection, slot: str, publication: str) -> bytes:
    """Return the command that streams a publication from the slot's confirmed position."""
    names = sql.Literal(sql.Identifier(publication).as_string(connection))
    return _START.format(slot=sql.Identifier(slot), publications=names).as_bytes(connection)


def format_lsn(lsn: int) -> str:
    """Write a position in the WAL as PostgreSQL does: `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Read a position in the WAL as PostgreSQL writes it."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


async def _row(connection: Connection, query: bytes) -> TupleRow:
    row = await _one(connection, query)
    if row is None:
        raise psycopg.OperationalError(f"no answer to {query.decode()}")
    return row


async def _one(connection: Connection, query: bytes, *parameters: object) -> TupleRow | None:
    cursor = await connection.execute(query, parameters or None)
    return await cursor.fetchone()
