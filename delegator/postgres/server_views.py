"""Reads what the server itself says: its clock, its replication slots, its settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from delegator.postgres.connections import Connection

_SLOTS: Final = b"""
SELECT slot_name::text, active, wal_status,
       pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::int8,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8
FROM pg_replication_slots
WHERE slot_name = ANY(%s) AND database = current_database()
"""

_OLDEST_SNAPSHOT: Final = b"""
SELECT pid, concat_ws(', ', usename, nullif(application_name, '')), now() - xact_start
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend'
  AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
ORDER BY xact_start LIMIT 1
"""


# Counters that the server keeps anyway. The estimate is as old as the last ANALYZE or VACUUM.
_ACTIVITY: Final = b"""
SELECT wanted.name, coalesce(pg_stat_get_tuples_inserted(c.oid), 0), coalesce(pg_stat_get_tuples_deleted(c.oid), 0),
       greatest(c.reltuples, 0)::int8
FROM unnest(%s::text[]) AS wanted (name) JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
"""


class Activity(NamedTuple):
    """What has happened to a table since the server's statistics began."""

    table: str
    inserted: int
    """Rows inserted."""
    deleted: int
    """Rows deleted."""
    estimated_rows: int
    """How many rows the planner thinks it has; 0: it does not know."""


class Slot(NamedTuple):
    """A logical replication slot."""

    name: str
    active: bool
    """Whether a consumer reads it."""
    wal_status: str | None
    """`reserved`, `extended`, `unreserved` or `lost` (PostgreSQL manual, 54.19 "pg_replication_slots")."""
    lag_bytes: int | None
    """How much of the WAL its consumer has not confirmed."""
    retained_bytes: int | None
    """How much of the WAL it keeps from being removed."""


async def slots(connection: Connection, names: Sequence[str]) -> list[Slot]:
    """Return those of the named slots of this database that exist."""
    return [Slot(*row) for row in await (await connection.execute(_SLOTS, (list(names),))).fetchall()]


async def activity(connection: Connection, tables: Sequence[str]) -> list[Activity]:
    """Return what has happened to those of the named tables that exist."""
    return [Activity(*row) for row in await (await connection.execute(_ACTIVITY, (list(tables),))).fetchall()]


async def database_now(connection: Connection) -> datetime:
    """Return the time by the database's clock."""
    row = await (await connection.execute(b"SELECT clock_timestamp()")).fetchone()
    if row is None:
        raise AssertionError("SELECT returned no row")
    moment: datetime = row[0]
    return moment


class OldSnapshot(NamedTuple):
    """The session whose transaction keeps the oldest dead rows."""

    pid: int
    who: str
    """The role and the program."""
    age: timedelta
    """How long its transaction has been open."""


async def oldest_snapshot(connection: Connection) -> OldSnapshot | None:
    """Return the session whose transaction has been open for longest and keeps dead rows; None: there is none."""
    row = await (await connection.execute(_OLDEST_SNAPSHOT)).fetchone()
    return None if row is None else OldSnapshot(*row)


async def server_version(connection: Connection) -> str:
    """Return the server's version, such as `18.1`."""
    row = await (await connection.execute(b"SELECT current_setting('server_version')")).fetchone()
    return "" if row is None else str(row[0]).partition(" ")[0]


async def is_pooled(connection: Connection) -> bool:
    """Return whether a pooler stands between: the process that serves this session is not the one that greeted it."""
    row = await (await connection.execute(b"SELECT pg_backend_pid()")).fetchone()
    return row is not None and row[0] != connection.info.backend_pid
