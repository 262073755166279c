"""The advisory locks of the relay that streams, one a slot, and what the server says of its slots.

The locks belong to a connection of their own. PostgreSQL ends that connection when it hears nothing from the relay for
`silence`, whether the relay was killed, hangs, or is cut off. Then another relay can take the locks.
(PostgreSQL manual, 13.3.5 "Advisory Locks" and 19.11.1 "idle_session_timeout".)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from delegator.errors import DatabaseError
from delegator.postgres.connections import Connection, DatabaseAddress, connect

_APPLICATION_NAME: Final = "delegator-relay lock"
_IS_STANDBY: Final = b"SELECT pg_is_in_recovery()"
_TRY: Final = b"SELECT bool_and(pg_try_advisory_lock(key)) FROM unnest(%s::int8[]) AS key"
_RELEASE: Final = b"SELECT pg_advisory_unlock_all()"
_HOLDER: Final = b"""
SELECT holder.pid, session.usename, coalesce(host(session.client_addr), 'a socket'),
    coalesce(session.application_name, '') = %s
FROM pg_catalog.pg_locks AS holder LEFT JOIN pg_catalog.pg_stat_activity AS session USING (pid)
WHERE holder.locktype = 'advisory' AND holder.granted AND holder.objsubid = 1 AND holder.pid <> pg_backend_pid()
  AND holder.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND (holder.classid::int8 << 32) | holder.objid::int8 = ANY(%s::int8[])
LIMIT 1"""
_SLOTS: Final = b"""
SELECT slot_name, pg_wal_lsn_diff(present.lsn, confirmed_flush_lsn)::int8,
    pg_wal_lsn_diff(present.lsn, restart_lsn)::int8, coalesce(wal_status, ''), safe_wal_size
FROM pg_catalog.pg_replication_slots, (SELECT pg_current_wal_lsn() AS lsn) AS present
WHERE slot_name = ANY(%s::text[])"""


@dataclass(frozen=True, slots=True)
class Holder:
    """The session that holds a lock."""

    pid: int
    """Its process id on the server."""
    role: str | None
    """Its role; None: it has just ended."""
    address: str
    """Where it comes from."""
    is_relay: bool
    """Whether it says that it is a relay."""


@dataclass(frozen=True, slots=True)
class SlotLag:
    """How far a slot is behind, in bytes of WAL."""

    lag_bytes: int
    """WAL that was written after the confirmed position."""
    retained_bytes: int
    """WAL that the server keeps for the slot."""
    wal_status: str
    """`reserved`, `extended`, `unreserved` or `lost`; see `pg_replication_slots` in PostgreSQL's manual."""
    safe_bytes: int | None
    """WAL that may still be written before the slot can lose some. None: there is no limit, or the slot is lost."""

    @property
    def endangered(self) -> bool:
        """More than half of what `max_slot_wal_keep_size` allows is used."""
        return self.wal_status == "unreserved" or (
            self.safe_bytes is not None and self.safe_bytes < self.retained_bytes
        )


async def connect_lock(database: str | DatabaseAddress, silence: timedelta) -> Connection:
    """Open the connection that will hold the locks.

    Args:
        database: libpq connection string or URL, or both addresses of the database.
        silence: without a statement for this time the server ends the connection.

    Raises:
        ConfigurationError: the address is not one, or leads to a pooler that shares sessions.
        DatabaseError: the server can't be reached, refuses the connection, or is a standby.
    """
    connection = await connect(
        database,
        application_name=_APPLICATION_NAME,
        silence=silence,
        session_for="the lock of the relay",
        idle_session_timeout=f"{round(silence.total_seconds() * 1000)}ms",
    )
    try:
        row = await (await connection.execute(_IS_STANDBY)).fetchone()
        if row is None or row[0]:
            raise DatabaseError(
                "this PostgreSQL is a standby: name all servers in DELEGATOR_DATABASE_URL, with "
                "target_session_attrs=read-write, or the address of the primary"
            )
    except BaseException:
        await connection.close()
        raise
    return connection


async def try_locks(connection: Connection, slots: Sequence[str]) -> bool:
    """Take the locks of all these slots, or none. Return whether this connection holds them."""
    row = await (await connection.execute(_TRY, (_keys(slots),))).fetchone()
    if row is not None and row[0]:
        return True
    await connection.execute(_RELEASE)
    return False


async def holder(connection: Connection, slots: Sequence[str]) -> Holder | None:
    """Return a session that holds one of the locks; None: there is none any more."""
    row = await (await connection.execute(_HOLDER, (_APPLICATION_NAME, _keys(slots)))).fetchone()
    return None if row is None else Holder(*row)


async def slot_lags(connection: Connection, slots: Sequence[str]) -> dict[str, SlotLag]:
    """Return how far the slots are behind, by slot; those that do not exist are left out."""
    rows = await (await connection.execute(_SLOTS, (list(slots),))).fetchall()
    return {
        name: SlotLag(max(0, lag or 0), max(0, retained or 0), status, safe)
        for name, lag, retained, status, safe in rows
    }


def _keys(slots: Sequence[str]) -> list[int]:
    """Return the keys of the locks, in one order for all relays."""
    digests = (hashlib.sha256(b"delegator-relay:" + slot.encode()).digest() for slot in sorted(slots))
    return [int.from_bytes(digest[:8], signed=True) for digest in digests]
