"""One leader among any number of maintenance processes, by an advisory lock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import psycopg

from delegator.errors import ConfigurationError, DatabaseError, first_line
from delegator.postgres import leader_lock
from delegator.postgres.connections import SILENCE, Connection, DatabaseAddress, connect
from delegator.postgres.database_watch import DatabaseWatch
from delegator.runtime.cancellation import run_apart

_log = logging.getLogger(__name__)
_FOLLOWER_PAUSE_SECONDS = 1.0


class Elector:
    """Runs a function while this process is the leader.

    The lock belongs to one connection. A leader that loses the connection is not the leader any more, and another
    process can become it.
    """

    def __init__(
        self,
        database: str | DatabaseAddress,
        on_change: Callable[[bool], None],
        watch: DatabaseWatch,
        *,
        silence: timedelta = SILENCE,
    ) -> None:
        """Prepare.

        Args:
            database: where the lock is.
            on_change: called with whether this process is the leader, when that changes.
            watch: gets each failure, and each success of a process that waits for the lock. The leader's work
                reports its own successes.
            silence: how long packets may stay unacknowledged before either side closes the leader's connection.
        """
        self._address = database
        self._silence = silence
        self._on_change = on_change
        self._database = watch

    async def run(self, lead: Callable[[Connection], Coroutine[Any, Any, None]]) -> None:
        """Become the leader and call `lead` with the connection that holds the lock. Repeat this until cancelled.

        Args:
            lead: works until its connection fails.
        """
        while True:
            try:
                connection = await connect(
                    self._address,
                    application_name=leader_lock.APPLICATION_NAME,
                    silence=self._silence,
                    session_for=leader_lock.SESSION_FOR,
                )
            except ConfigurationError as error:
                self._database.noted(str(error))
                await asyncio.sleep(_FOLLOWER_PAUSE_SECONDS)
                continue
            except DatabaseError as error:
                await self._database.failed(error)
                continue
            try:
                failure = await self._lead(connection, lead)
            finally:
                await connection.close()
            if failure is not None:
                await self._database.failed(failure)

    async def _lead(
        self, connection: Connection, lead: Callable[[Connection], Coroutine[Any, Any, None]]
    ) -> psycopg.Error | None:
        """Wait for the lock, then lead. Return the database error that ended it."""
        elected = False
        try:
            await leader_lock.release_on_silence(connection, self._silence)
            while not await leader_lock.try_lock(connection):
                self._database.noted(await leader_lock.stranger(connection))
                await asyncio.sleep(_FOLLOWER_PAUSE_SECONDS)
            elected = True
            self._on_change(True)
            _log.info("leader_elected")
            await run_apart(lead(connection))
        except psycopg.Error as error:
            if elected:
                _log.warning("leader_lost", extra={"reason": first_line(error)})
            return error
        finally:
            self._on_change(False)
        return None
