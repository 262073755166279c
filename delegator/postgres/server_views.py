"""Reads what the server itself says: its clock, its replication slots, its settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from delegator.postgres.connections import Connection

_SLOTS: Final = b"""
SELECT slot_name::text, active, wal_status,
       pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::int8,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8
FROM pg_replication_slots
WHERE slot_name = ANY(%s) AND database = current_database()
"""


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


async def database_now(connection: Connection) -> datetime:
    """Return the time by the database's clock."""
    row = await (await connection.execute(b"SELECT clock_timestamp()")).fetchone()
    if row is None:
        raise AssertionError("SELECT returned no row")
    moment: datetime = row[0]
    return moment
