"""pgqueuer: its documentation advises asyncpg, a pool for producers, a connection per manager, autovacuum settings."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from loadtest.peers.scratch import PeerQueue
from loadtest.queues.contender import Enqueue
from loadtest.servers.crew import WorkerProcess

ENTRYPOINT = "loadtest_bulk"
BATCH_SIZE = 300
"""Jobs taken by a manager at once."""
MANAGERS = 2
"""Managers in the worker process, each with a connection of its own."""


class PgQueuerQueue(PeerQueue):
    """pgqueuer, durable as by default."""

    name = "pgqueuer"
    batch = 1_000
    producers = 2
    tables = ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics")
    settings = MappingProxyType(
        {
            "driver": "asyncpg",
            "durability": "durable",
            "batch_size": BATCH_SIZE,
            "managers": MANAGERS,
            "batch": batch,
            "producers": producers,
        }
    )

    @property
    def worker(self) -> WorkerProcess:
        """One process with its managers."""
        return WorkerProcess(name="pgqueuer worker", argv=(sys.executable, "-m", "loadtest.peers.pgqueuer_worker"))

    async def install(self) -> None:
        """Create its tables."""
        import asyncpg
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        connection = await asyncpg.connect(self._url)
        try:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            await queries.optimize_autovacuum()
        finally:
            await connection.close()

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[Enqueue]:
        """Open a pool of connections."""
        import asyncpg
        from pgqueuer.db import AsyncpgPoolDriver
        from pgqueuer.queries import Queries

        async with asyncpg.create_pool(self._url, min_size=1, max_size=self.producers * 2) as pool:
            queries = Queries(AsyncpgPoolDriver(pool))

            async def enqueue(payloads: Sequence[bytes]) -> None:
                count = len(payloads)
                await queries.enqueue([ENTRYPOINT] * count, list(payloads), [0] * count)

            yield enqueue
