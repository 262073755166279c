"""One leader among any number of delegators, by an advisory lock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from delegator.errors import DatabaseError
from delegator.postgres.connections import SILENCE, TRANSIENT, Connection, connect, first_line
from delegator.runtime.backoff import Backoff

_log = logging.getLogger(__name__)
_LOCK_KEY = 0x64656C6567617465  # "delegate"
_TRY = b"SELECT pg_try_advisory_lock(%s)"
_FOLLOWER_PAUSE = 1.0
# The server's side of the connection: without this, a leader whose machine vanished would keep the lock for as long as
# the server's kernel keeps the connection, two hours by default. (PostgreSQL manual, 19.3.2 "TCP Settings".)
_LET_GO = """
SELECT set_config('tcp_keepalives_idle', %(probe)s, false), set_config('tcp_keepalives_interval', %(probe)s, false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', %(silence)s, false)
"""


class Elector:
    """Runs something while this process is the leader.

    The lock belongs to one connection: when that is lost, so is the leadership, and PostgreSQL gives the lock to
    whoever asks next. (PostgreSQL manual, 13.3.5 "Advisory Locks".)
    """

    def __init__(self, database_url: str, on_change: Callable[[bool], None], *, silence: timedelta = SILENCE) -> None:
        """Prepare.

        Args:
            database_url: where the lock is.
            on_change: told when this process becomes the leader, or no longer is.
            silence: how long packets may stay unacknowledged before the leadership is lost, on either side.
        """
        self._database_url = database_url
        self._silence = silence
        self._on_change = on_change

    async def run(self, lead: Callable[[Connection], Awaitable[None]]) -> None:
        """Become the leader, call `lead` with the connection that holds the lock, and again, until cancelled.

        Args:
            lead: works until its connection fails.
        """
        backoff = Backoff()
        while True:
            try:
                connection = await connect(
                    self._database_url, application_name="delegator leader", silence=self._silence
                )
            except DatabaseError as error:
                _log.debug("leader_connect_failed", extra={"reason": str(error)})
                await backoff.sleep()
                continue
            try:
                await self._lead(connection, lead, backoff)
            except TRANSIENT as error:
                _log.warning("leader_lost", extra={"reason": first_line(error)})
                await backoff.sleep()
            finally:
                self._on_change(False)
                await connection.close()

    async def _lead(
        self, connection: Connection, lead: Callable[[Connection], Awaitable[None]], backoff: Backoff
    ) -> None:
        seconds = self._silence.total_seconds()
        await connection.execute(
            _LET_GO, {"probe": f"{max(1, round(seconds / 4))}s", "silence": f"{round(seconds * 1000)}ms"}
        )
        while True:
            cursor = await connection.execute(_TRY, (_LOCK_KEY,))
            row = await cursor.fetchone()
            if row is not None and row[0]:
                break
            await asyncio.sleep(_FOLLOWER_PAUSE)
        backoff.reset()
        self._on_change(True)
        _log.info("leader_elected")
        await lead(connection)
