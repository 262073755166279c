"""Keeps the lease of this process: grants it at the start, renews it, revokes it at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg

from delegator.errors import ConfigurationError, DatabaseError, first_line
from delegator.postgres import leases
from delegator.postgres.connections import Connection, DatabaseAddress, connect
from delegator.postgres.lease_reports import WorkerReport
from delegator.runtime.backoff import Backoff
from delegator.runtime.startup import Listener

T = TypeVar("T")

_DISTRIBUTION: Final = "temporal-delegator"
STALL: Final = timedelta(seconds=30)
"""How long the event loop may be blocked before the lease is not renewed any more."""

_log = logging.getLogger(__name__)


def holder_name() -> str:
    """Return this process's name: `<pid>@<host>`."""
    return f"{os.getpid()}@{socket.gethostname()}"


class LeaseKeeper:
    """Holds one lease for this process. Rows that name the lease are held while it is renewed.

    Renewals have their own connection and their own thread. So they wait neither for a connection of the pool, nor for
    a handler that blocks the event loop.

    Use as an async context manager.
    """

    def __init__(
        self,
        database: str | DatabaseAddress,
        role: leases.Role,
        *,
        duration: timedelta,
        queue: str | None = None,
        job_types: Sequence[str] | None = None,
        state: Listener | None = None,
        on_lost: Callable[[int], None] | None = None,
        stall: timedelta = STALL,
        report: Callable[[], WorkerReport] | None = None,
        cluster: str | None = None,
    ) -> None:
        """Prepare the keeper.

        Args:
            database: libpq connection string or URL, or both addresses of the database.
            role: what the lease is for.
            duration: how long a lease lives without a renewal. It is renewed three times in that time.
            queue: the queue that a worker serves.
            job_types: the types that a worker has handlers for.
            state: gets the health of the database connection.
            on_lost: called with the id of the old lease, when it had expired and a new one was granted.
            stall: how long the event loop may be blocked. After that the lease is left to expire.
            report: returns what a worker says of itself. It is called on the event loop before each renewal.
            cluster: the Temporal namespace and its id, as `name/id`; None: not known, and not checked.
        """
        self._database = database
        self._role: leases.Role = role
        self._duration = duration
        self._queue = queue
        self._job_types = job_types
        self._state = state
        self._on_lost = on_lost
        self._stall = stall.total_seconds()
        self._make_report = report
        self._cluster = cluster
        self._report: WorkerReport | None = None
        self._watermark_at: float | None = None
        self._loop_alive_at = 0.0
        self._loop_watch: asyncio.Task[None] | None = None
        self._renewals: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._renewal_lock = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lease", daemon=True)
        self.lease_id = 0
        self.has_pauses = False
        """Whether the queue, or one of its types, was paused when the lease was last renewed."""

    async def __aenter__(self) -> Self:
        """Get the lease.

        Raises:
            DatabaseError: the database can't be reached, or grants none.
            ConfigurationError: a live process uses a namespace of the same name in another cluster.
        """
        self._main = asyncio.get_running_loop()
        if self._make_report is not None:
            self._report = self._make_report()
        self._thread.start()
        try:
            await self._in_thread(self._begin())
        except BaseException:
            await self._stop()
            raise
        self._loop_watch = asyncio.create_task(self._watch_loop(), name="lease-watch")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop_watch is not None:
            self._loop_watch.cancel()
        await self._stop()

    def note_delivery_watermark(self) -> None:
        """Note that the stream has delivered everything up to now.

        Rows that were published before this moment and are still unclaimed were lost.
        """
        self._watermark_at = time.monotonic()

    async def renew(self) -> None:
        """Renew the lease now. If it is gone, get a new one.

        Raises:
            DatabaseError: the database can't be reached.
            psycopg.Error: the connection was lost.
        """
        await self._in_thread(self._renew())

    async def _in_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread of the renewals."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _in_main_loop(self, function: Callable[..., None], *args: object) -> None:
        """Let the process's event loop call a function. This runs in the thread of the renewals."""
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._main.call_soon_threadsafe(function, *args)

    async def _watch_loop(self) -> None:
        pause = min(self._duration.total_seconds() / 3, self._stall / 3)
        while True:
            self._loop_alive_at = time.monotonic()
            if self._make_report is not None:
                self._report = self._make_report()
            await asyncio.sleep(pause)

    async def _stop(self) -> None:
        await self._in_thread(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _begin(self) -> None:
        self._loop_alive_at = time.monotonic()
        try:
            connection = await self._connected()
            await self._grant(connection)
            if self._cluster is not None:  # after the grant: of two that start together one sees the other
                await _refuse_two_clusters(connection, self._cluster)
        except psycopg.Error as error:
            raise DatabaseError(f"the database grants no lease: {first_line(error)}") from None
        self._renewals = asyncio.create_task(self._renew_repeatedly(), name="lease")

    async def _end(self) -> None:
        if self._renewals is not None:
            self._renewals.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewals
        with suppress(psycopg.Error, DatabaseError, TimeoutError):
            async with asyncio.timeout(2):
                if self.lease_id:
                    await leases.revoke(await self._connected(), self.lease_id)
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await connect(
                self._database, application_name=f"delegator lease ({self._role})", silence=self._duration / 3
            )
        return self._connection

    async def _grant(self, connection: Connection) -> None:
        self.lease_id = await leases.grant(
            connection,
            self._role,
            holder_name(),
            self._queue,
            self._duration,
            self._job_types,
            version(_DISTRIBUTION),
            self._cluster,
        )
        await self._extend(connection, None)  # it tells of pauses

    async def _extend(self, connection: Connection, watermark_age: timedelta | None) -> bool:
        says = self.has_pauses
        while True:
            report = None if self._report is None else replace(self._report, has_pauses=says)
            renewed = await leases.renew(connection, self.lease_id, self._duration, watermark_age, report)
            if renewed is None:
                return False
            if renewed.has_pauses == says:
                self.has_pauses = says
                return True
            # Who pauses waits until the lease says so. So this process knows before the lease says that there are
            # pauses, and forgets after the lease says that there are none.
            says = renewed.has_pauses
            self.has_pauses = self.has_pauses or says

    async def _renew_repeatedly(self) -> None:
        backoff = Backoff(longest=self._duration / 6)
        pause = self._duration.total_seconds() / 3
        while True:
            await asyncio.sleep(pause)
            if time.monotonic() - self._loop_alive_at > self._stall:
                continue
            while True:
                try:
                    await self._renew()
                    break
                except Exception as error:  # the lease must outlive whatever the server answers
                    if self._state is not None:
                        self._in_main_loop(self._state.lost, first_line(error) or type(error).__name__)
                    await backoff.sleep()
            backoff.reset()
            if self._state is not None:
                self._in_main_loop(self._state.restored)

    async def _renew(self) -> None:
        async with self._renewal_lock:
            connection = await self._connected()
            watermark_at, self._watermark_at = self._watermark_at, None
            age = None if watermark_at is None else timedelta(seconds=time.monotonic() - watermark_at)
            if await self._extend(connection, age):
                return
            lost = self.lease_id
            await self._grant(connection)
        _log.warning("lease_lost", extra={"lease": lost, "granted": self.lease_id})
        if self._on_lost is not None:
            self._in_main_loop(self._on_lost, lost)


async def _refuse_two_clusters(connection: Connection, cluster: str) -> None:
    other = await leases.other_cluster(connection, cluster)
    if other is None:
        return
    holder, theirs = other
    name, _, own_id = cluster.rpartition("/")
    raise ConfigurationError(
        f"two Temporal clusters use this database: the namespace {name!r} of {holder} has the id "
        f"{theirs.rpartition('/')[2]}, and that of this process has {own_id} (TEMPORAL_ADDRESS). An outcome would go "
        "to the wrong cluster: give each cluster a database of its own (DELEGATOR_DATABASE_URL), or a schema "
        "(DELEGATOR_SCHEMA)"
    )
