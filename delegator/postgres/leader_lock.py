"""The advisory lock of the leader. One process of a database holds it.

The lock belongs to a connection. When the connection is lost, PostgreSQL gives the lock to the next process that asks.
(PostgreSQL manual, 13.3.5 "Advisory Locks".)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from delegator.postgres.connections import Connection

_KEY: Final = 0x64656C6567617465  # "delegate"
_TRY = b"SELECT pg_try_advisory_lock(%s)"
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
    row = await (await connection.execute(_TRY, (_KEY,))).fetchone()
    return row is not None and bool(row[0])
