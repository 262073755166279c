"""The advisory lock of the leader. One process of a database holds it.

The lock belongs to a connection. When the connection is lost, PostgreSQL gives the lock to the next process that asks.
(PostgreSQL manual, 13.3.5 "Advisory Locks".)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from delegator_schema.columns import LEASE_TABLE

from delegator.postgres.connections import Connection

APPLICATION_NAME: Final = "delegator leader"
"""The name of the leader's session in `pg_stat_activity`."""
SESSION_FOR: Final = "the leader's lock"
"""What needs a session of its own, for an error message."""

# "delegate". Each schema is a deployment of its own, with a leader.
_KEY: Final = """(CASE current_schema() WHEN 'public' THEN 0 ELSE hashtext(current_schema()) END
    + 7234307559222506597::int8)"""
_TRY = f"SELECT pg_try_advisory_lock({_KEY})".encode()
# Any role may take an advisory lock. A maintenance process may also delete leases.
_STRANGER = f"""
SELECT holder.pid, session.usename
FROM pg_locks AS holder LEFT JOIN pg_stat_activity AS session USING (pid)
WHERE holder.locktype = 'advisory' AND holder.granted AND holder.objsubid = 1
  AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (holder.classid::int8 << 32) | holder.objid::int8 = {_KEY}
  AND NOT coalesce(has_table_privilege(session.usesysid, '{LEASE_TABLE}', 'DELETE')
                   AND session.application_name = %s, false)
""".encode()
_IS_HELD = f"""
SELECT EXISTS (
    SELECT FROM pg_locks AS holder
    WHERE holder.locktype = 'advisory' AND holder.granted AND holder.objsubid = 1
      AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (holder.classid::int8 << 32) | holder.objid::int8 = {_KEY}
)
""".encode()
# Settings for the server's side of the connection. When a leader's machine fails, the server's kernel would otherwise
# keep the connection, and with it the lock, for two hours (the default). (PostgreSQL manual, 19.3.2 "TCP Settings".)
_NOTICE_SILENCE = b"""
SELECT set_config('tcp_keepalives_idle', %(probe)s, false), set_config('tcp_keepalives_interval', %(probe)s, false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', %(silence)s, false)
"""


async def release_on_silence(connection: Connection, silence: timedelta) -> None:
    """Let the server end this connection, and release the lock, when packets stay unacknowledged for this time."""
    seconds = silence.total_seconds()
    parameters = {"probe": f"{max(1, round(seconds / 4))}s", "silence": f"{round(seconds * 1000)}ms"}
    await connection.execute(_NOTICE_SILENCE, parameters)


async def try_lock(connection: Connection) -> bool:
    """Take the lock if no other connection holds it. Return whether this connection holds it."""
    row = await (await connection.execute(_TRY)).fetchone()
    return row is not None and bool(row[0])


async def is_held(connection: Connection) -> bool:
    """Return whether a connection holds the lock, so that a maintenance process leads."""
    row = await (await connection.execute(_IS_HELD)).fetchone()
    return row is not None and bool(row[0])


async def stranger(connection: Connection) -> str | None:
    """Return what to do about a session that holds the lock and is no maintenance process; None: there is none."""
    row = await (await connection.execute(_STRANGER, (APPLICATION_NAME,))).fetchone()
    if row is None:
        return None
    pid, role = row
    return (
        f"session {pid} of role {role} holds the leader's lock and is no maintenance process: end it with "
        f"SELECT pg_terminate_backend({pid})"
    )
