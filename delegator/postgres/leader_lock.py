"""The advisory lock that one process of a database holds: the leader.

The lock belongs to one connection. When that is lost, PostgreSQL gives the lock to the next process that asks.
(PostgreSQL manual, 13.3.5 "Advisory Locks".)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from delegator.postgres.connections import Connection

_KEY: Final = 0x64656C6567617465  # "delegate"
_TRY = b"SELECT pg_try_advisory_lock(%s)"
# The server's side of the connection. Without these settings the lock of a leader whose machine vanished stays for as
# long as the server's kernel keeps the connection: two hours by default. (PostgreSQL manual, 19.3.2 "TCP Settings".)
_NOTICE_SILENCE = b"""
SELECT set_config('tcp_keepalives_idle', %(probe)s, false), set_config('tcp_keepalives_interval', %(probe)s, false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', %(silence)s, false)
"""


async def release_on_silence(connection: Connection, silence: timedelta) -> None:
    """Have the server end this connection, and with it the lock, when packets stay unacknowledged for so long."""
    seconds = silence.total_seconds()
    parameters = {"probe": f"{max(1, round(seconds / 4))}s", "silence": f"{round(seconds * 1000)}ms"}
    await connection.execute(_NOTICE_SILENCE, parameters)


async def try_lock(connection: Connection) -> bool:
    """Take the lock if no other connection holds it; say whether this one does."""
    row = await (await connection.execute(_TRY, (_KEY,))).fetchone()
    return row is not None and bool(row[0])
