"""One relay streams, among any number of relays: the one that holds the locks of the slots."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg

from delegator.errors import ConfigurationError, DatabaseError, first_line
from delegator.postgres import relay_lock
from delegator.postgres.connections import Connection
from delegator.relay.options import RelayOptions
from delegator.relay.state import RelayState
from delegator.runtime.backoff import Backoff
from delegator.runtime.cancellation import run_apart
from delegator.runtime.exception_groups import unwrapped

_log = logging.getLogger(__name__)


class _LockLostError(Exception):
    """The connection that held the locks is lost; the message says how."""


class Election:
    """Runs a function while this relay holds the locks.

    The lock only decides who may take the slots. A slot has one reader whatever happens to the locks, because
    PostgreSQL refuses a second one. The relay that gets the locks ends a WAL sender that an earlier relay left behind.
    """

    def __init__(self, options: RelayOptions, state: RelayState) -> None:
        """Prepare.

        Args:
            options: of the relay.
            state: is told who streams, and how far the slots are behind.
        """
        self._options = options
        self._state = state
        self._slots = {feed.slot: feed.table for feed in options.feeds}
        self._connected = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the locks and call `lead`; repeat this until cancelled.

        Args:
            lead: streams until cancelled. It is cancelled when the locks are lost.

        Raises:
            ConfigurationError: the database can't be reached as configured, and never could; or `lead` raised it.
            DatabaseError: PostgreSQL could not be reached for `start_timeout` since the start; or `lead` raised it.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._options.start_timeout
        backoff = Backoff(longest=timedelta(seconds=self._options.backoff_cap))
        while True:
            connection = None
            try:
                connection = await self._connect()
                await self._wait(connection)
                backoff.reset()
                await run_apart(self._lead(connection, lead))
            except (ConfigurationError, DatabaseError) as error:
                is_last_try = isinstance(error, ConfigurationError) or loop.time() >= give_up_at
                if connection is not None or (is_last_try and not self._connected):
                    raise
                self._state.unreachable(str(error))
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._state.unreachable(first_line(error) or type(error).__name__)
            except _LockLostError as error:
                _log.warning("relay_lock_lost", extra={"reason": str(error)})
                self._state.unreachable(str(error))
            finally:
                if connection is not None:
                    await connection.close()
            await backoff.sleep()

    async def _connect(self) -> Connection:
        timeout = self._options.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                connection = await relay_lock.connect_lock(
                    self._options.database_url, timedelta(seconds=self._options.lock_timeout)
                )
        except TimeoutError:
            raise DatabaseError(f"PostgreSQL does not answer within {timeout:g} s (DELEGATOR_DATABASE_URL)") from None
        self._connected = True
        return connection

    async def _wait(self, connection: Connection) -> None:
        """Wait until this connection holds the locks."""
        slots = list(self._slots)
        known: relay_lock.Holder | None = None
        while True:
            async with asyncio.timeout(self._options.lock_timeout):
                if await relay_lock.try_locks(connection, slots):
                    return
                holder = await relay_lock.holder(connection, slots)
            if holder is not None:
                problem = None if holder.is_relay else _stranger(holder)
                self._state.stand_by(problem)
                if holder != known:
                    known = holder
                    extra = {"holder": holder.pid, "address": holder.address}
                    if problem is None:
                        _log.info("relay_standby", extra=extra)
                    else:
                        _log.error("relay_lock_taken", extra=extra | {"reason": problem})
            # Two relays that serve some of the same queues must not block each other at each turn.
            await asyncio.sleep(self._options.lock_interval * random.uniform(0.5, 1.0))

    async def _lead(self, connection: Connection, lead: Callable[[], Awaitable[None]]) -> None:
        self._state.lead()
        _log.info("relay_elected", extra={"streams": ",".join(self._slots.values())})
        try:
            with unwrapped():
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch(connection), name="relay-lock")
                    await lead()
        finally:
            self._state.resign()

    async def _watch(self, connection: Connection) -> None:
        """Keep the connection, and look how far the slots are behind.

        Raises:
            _LockLostError: the connection is lost, and with it the locks.
        """
        while True:
            try:
                async with asyncio.timeout(self._options.lock_timeout):
                    lags = await relay_lock.slot_lags(connection, list(self._slots))
            except TimeoutError:
                raise _LockLostError(f"PostgreSQL has said nothing for {self._options.lock_timeout:g} s") from None
            except (psycopg.Error, OSError) as error:
                raise _LockLostError(first_line(error) or type(error).__name__) from None
            for slot, table in self._slots.items():
                self._state.streams[table].slot_seen(slot, lags.get(slot))
            await asyncio.sleep(self._options.lock_interval)


def _stranger(holder: relay_lock.Holder) -> str:
    return (
        f"session {holder.pid} of role {holder.role} holds the relay's lock and is no relay: end it with "
        f"SELECT pg_terminate_backend({holder.pid})"
    )
