"""The lease of this process: granted at the start, renewed while it lives, revoked at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self

import psycopg

from delegator.backoff import Backoff
from delegator.connection_state import ConnectionState
from delegator.store import lease_table
from delegator.store.database import Pool, first_line

_log = logging.getLogger(__name__)


def holder_name() -> str:
    """Return this process's name, for people: `<pid>@<host>`."""
    return f"{os.getpid()}@{socket.gethostname()}"


class LeaseKeeper:
    """Holds one lease for this process. Everything that names the lease lives as long as it is renewed.

    Use as an async context manager.
    """

    def __init__(
        self,
        pool: Pool,
        kind: Literal["worker", "delegator"],
        *,
        duration: timedelta,
        queue: str | None = None,
        state: ConnectionState | None = None,
        on_lost: Callable[[int], None] | None = None,
    ) -> None:
        """Prepare the keeper.

        Args:
            pool: connections.
            kind: what the lease is for.
            duration: how long others wait before they take over from a silent holder; renewed three times as often.
            queue: the queue a worker serves.
            state: told about the database's health.
            on_lost: called with the old lease's id when it had expired and a new one was granted.
        """
        self._pool = pool
        self._kind = kind
        self._duration = duration
        self._queue = queue
        self._state = state
        self._on_lost = on_lost
        self._drained_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.lease_id = 0

    async def __aenter__(self) -> Self:
        await self._grant()
        self._task = asyncio.create_task(self._renew_for_ever(), name="lease")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(2), self._pool.connection() as connection:
                await lease_table.revoke(connection, self.lease_id)

    def stream_was_empty(self) -> None:
        """Note that the stream had nothing to deliver just now: rows emitted before and still unclaimed were lost."""
        self._drained_at = time.monotonic()

    async def _grant(self) -> None:
        async with self._pool.connection() as connection:
            self.lease_id = await lease_table.grant(connection, self._kind, holder_name(), self._queue, self._duration)

    async def _renew_for_ever(self) -> None:
        backoff = Backoff(longest=self._duration / 6)
        pause = self._duration.total_seconds() / 3
        while True:
            await asyncio.sleep(pause)
            while True:
                try:
                    await self._renew()
                    break
                except psycopg.Error as error:
                    if self._state is not None:
                        self._state.lost(first_line(error))
                    await backoff.sleep()
            backoff.reset()
            if self._state is not None:
                self._state.restored()

    async def _renew(self) -> None:
        drained_at, self._drained_at = self._drained_at, None
        drained = None if drained_at is None else timedelta(seconds=time.monotonic() - drained_at)
        async with self._pool.connection() as connection:
            if await lease_table.renew(connection, self.lease_id, self._duration, drained):
                return
        lost = self.lease_id
        await self._grant()
        _log.warning("lease_lost", extra={"lease": lost, "granted": self.lease_id})
        if self._on_lost is not None:
            self._on_lost(lost)
