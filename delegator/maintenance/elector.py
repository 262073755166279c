"""One leader among any number of maintenance processes, by an advisory lock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from delegator.errors import DatabaseError, first_line
from delegator.postgres import leader_lock
from delegator.postgres.connections import SILENCE, TRANSIENT, Connection, connect
from delegator.runtime.backoff import Backoff

_log = logging.getLogger(__name__)
_FOLLOWER_PAUSE_SECONDS = 1.0


class Elector:
    """Runs a function while this process is the leader.

    The lock belongs to one connection. A leader that loses the connection is not the leader any more, and another
    process can become it.
    """

    def __init__(self, database_url: str, on_change: Callable[[bool], None], *, silence: timedelta = SILENCE) -> None:
        """Prepare.

        Args:
            database_url: where the lock is.
            on_change: called with whether this process is the leader, when that changes.
            silence: how long packets may stay unacknowledged before either side closes the leader's connection.
        """
        self._database_url = database_url
        self._silence = silence
        self._on_change = on_change

    async def run(self, lead: Callable[[Connection], Awaitable[None]]) -> None:
        """Become the leader and call `lead` with the connection that holds the lock. Repeat this until cancelled.

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
        await leader_lock.release_on_silence(connection, self._silence)
        while True:
            if await leader_lock.try_lock(connection):
                break
            await asyncio.sleep(_FOLLOWER_PAUSE_SECONDS)
        backoff.reset()
        self._on_change(True)
        _log.info("leader_elected")
        await lead(connection)
