"""What the page reads from the database: few connections at once, statements with a limit, counts from a cache."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from delegator.config import Settings
from delegator.errors import DelegatorError, DependencyError, SchemaError
from delegator.operating.flow import RateMeter
from delegator.operating.overview import Overview, overview_on
from delegator.postgres.connections import Connection
from delegator.postgres.operator_connection import operator_connection
from delegator.runtime.backoff import Backoff
from delegator.runtime.cancellation import cancel_requests, raise_if_cancelled
from delegator.runtime.connection_state import ConnectionState
from delegator.ui.metrics import UiMetrics

_CONNECTIONS: Final = 3
_STATEMENT_TIMEOUT: Final = "10s"
_KEPT_SECONDS: Final = 2.0
_MOST_SHARE: Final = 0.05
"""The part of the time in which the page may count."""
_METER_SECONDS: Final = 10.0


class Reads:
    """Reads the database for all who look at the page."""

    def __init__(self, settings: Settings, state: ConnectionState, metrics: UiMetrics) -> None:
        """Begin with an empty cache.

        Args:
            settings: where the database is, and which queues there are.
            state: gets the state of the database.
            metrics: count what is read.
        """
        self.settings = settings
        self.meter = RateMeter(settings.queues)
        self._state = state
        self._metrics = metrics
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._counting = asyncio.Lock()
        self._overview: Overview | None = None
        self._fresh_until = 0.0

    @asynccontextmanager
    async def connection(self, what: str) -> AsyncIterator[Connection]:
        """Lend a connection.

        Args:
            what: is read, for the metrics.

        Raises:
            ConfigurationError: a table is missing, or a setting is wrong.
            DatabaseError: PostgreSQL can't be reached, refuses, or takes too long.
        """
        async with self._slots:
            began = time.monotonic()
            try:
                async with operator_connection(self.settings, "ui", statement_timeout=_STATEMENT_TIMEOUT) as connection:
                    yield connection
            except (DependencyError, SchemaError) as error:
                self._state.lost(str(error))
                raise
            self._state.restored()
            self._metrics.read_seconds.labels(what).observe(time.monotonic() - began)

    async def overview(self) -> Overview:
        """Return the overview. It is counted once for all, and again after a while that its costs decide.

        Raises:
            ConfigurationError: a table is missing, or a setting is wrong.
            DatabaseError: PostgreSQL can't be reached, refuses, or takes too long.
        """
        async with self._counting:
            if self._overview is None or time.monotonic() >= self._fresh_until:
                began = time.monotonic()
                async with self.connection("overview") as connection:
                    self._overview = await overview_on(connection, self.settings)
                took = time.monotonic() - began
                self._fresh_until = time.monotonic() + max(_KEPT_SECONDS, took / _MOST_SHARE)
            return self._overview

    def forget(self) -> None:
        """Count again at the next look, because something was changed."""
        self._fresh_until = 0.0

    async def watch(self) -> None:
        """Read the counters of rates again and again. So the state of the database is known, too."""
        backoff = Backoff()
        known = cancel_requests()
        while True:
            raise_if_cancelled(known)  # psycopg waits with `asyncio.wait_for`
            try:
                async with self.connection("rates") as connection:
                    await self.meter.read(connection)
            except DelegatorError:
                raise_if_cancelled(known)
                await backoff.sleep()
            else:
                backoff.reset()
                await asyncio.sleep(_METER_SECONDS)
