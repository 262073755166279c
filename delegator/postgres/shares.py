"""Shares a pool between queues, so that the statements of one queue never keep all connections.

A statement waits while its queue's table is locked, and keeps its connection. Each queue has one place of its own in
the pool. The other places are for all queues, and they take turns at them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from psycopg_pool import PoolTimeout

from delegator.postgres.sessions import Connection

_LEAST_SECONDS: Final = 0.5
"""How long the pool has at least to hand out the connection of a place."""


class Lender(Protocol):
    """Lends connections: a pool, or a queue's share of it."""

    def connection(self, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection.

        Args:
            timeout: how long to wait for one, in seconds; None: the pool's own limit.
        """


class Places:
    """The places of a pool, and the queues that wait for one."""

    def __init__(self, common: int) -> None:
        """Begin with every place free.

        Args:
            common: number of places that are for all queues.
        """
        self._common = common
        self._own_in_use: set[str] = set()
        self._waiting: dict[str, deque[asyncio.Future[bool]]] = {}

    async def take(self, queue: str, timeout_seconds: float) -> bool:
        """Wait for a place. Return whether it is the queue's own.

        Args:
            queue: the queue.
            timeout_seconds: how long to wait.

        Raises:
            PoolTimeout: all places of the queue were in use for that time.
        """
        if queue not in self._own_in_use:
            self._own_in_use.add(queue)
            return True
        if self._common:
            self._common -= 1
            return False
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(queue, deque())
        line.append(place)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await place
        except BaseException as error:
            if place.cancelled():
                line.remove(place)
            else:  # it came at the same moment
                self.give_back(queue, is_own=place.result())
            if isinstance(error, TimeoutError):
                raise PoolTimeout(
                    f"no connection to PostgreSQL became free for queue {queue!r} in {timeout_seconds:.1f} s: "
                    "its statements wait, perhaps because its table is locked"
                ) from None
            raise

    def give_back(self, queue: str, *, is_own: bool) -> None:
        """Give a place back, or to the next waiter.

        Args:
            queue: the queue.
            is_own: whether it is the queue's own place.
        """
        if is_own:
            if not self._give_to(queue, is_own=True):
                self._own_in_use.discard(queue)
        elif not any(self._give_to(name, is_own=False) for name in list(self._waiting)):
            self._common += 1

    def _give_to(self, queue: str, *, is_own: bool) -> bool:
        """Give a place to the first that waits for one of this queue. Return False if nobody does."""
        line = self._waiting.pop(queue, None)
        if not line:
            return False
        place = next((place for place in line if not place.done()), None)
        self._waiting[queue] = line  # at the end: the queues take turns
        if place is None:
            return False
        line.remove(place)
        place.set_result(is_own)
        return True


class Share:
    """What a queue has of a pool."""

    def __init__(self, pool: Lender, places: Places, queue: str, timeout_seconds: float) -> None:
        """Prepare.

        Args:
            pool: the pool.
            places: its places.
            queue: the queue.
            timeout_seconds: how long to wait for a connection, unless the caller sets a limit.
        """
        self._pool = pool
        self._places = places
        self._queue = queue
        self._timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection for statements of this queue.

        Args:
            timeout: how long to wait for one, in seconds; None: the pool's own limit.

        Raises:
            PoolTimeout: there was none in that time.
        """
        limit = self._timeout_seconds if timeout is None else timeout
        began = time.monotonic()
        is_own = await self._places.take(self._queue, limit)
        try:
            left = max(_LEAST_SECONDS, limit - (time.monotonic() - began))
            async with self._pool.connection(left) as connection:
                yield connection
        finally:
            self._places.give_back(self._queue, is_own=is_own)
