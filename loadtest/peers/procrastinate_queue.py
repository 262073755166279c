"""procrastinate: jobs are deferred in batches; the worker runs many at a time and deletes those that are done."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loadtest.peers.scratch import PeerQueue
from loadtest.queues.contender import Enqueue
from loadtest.queues.executions import record
from loadtest.servers.crew import WorkerProcess

if TYPE_CHECKING:
    from procrastinate import App

TASK = "loadtest_bulk"
CONCURRENCY = 10
"""Jobs that the worker runs at once."""
CONNECTIONS = 4
"""Most connections of a process."""


def build_app(url: str) -> App:
    """Return an app with the one task; not yet open.

    Args:
        url: of the database that holds its tables.
    """
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=url, min_size=2, max_size=CONNECTIONS))
    app.task(name=TASK)(swallow)
    return app


async def swallow(payload: str) -> None:
    """Take a job."""
    record(payload.encode())


class ProcrastinateQueue(PeerQueue):
    """procrastinate, with LISTEN and NOTIFY as by default."""

    name = "procrastinate"
    batch = 1_000
    producers = 2
    tables = ("procrastinate_jobs", "procrastinate_events")
    settings = MappingProxyType(
        {
            "driver": "psycopg",
            "delete_jobs": "always",
            "concurrency": CONCURRENCY,
            "connections": CONNECTIONS,
            "batch": batch,
            "producers": producers,
        }
    )

    @property
    def worker(self) -> WorkerProcess:
        """One worker process."""
        argv = (sys.executable, "-m", "loadtest.peers.procrastinate_worker")
        return WorkerProcess(name="procrastinate worker", argv=argv)

    async def install(self) -> None:
        """Create its tables."""
        async with build_app(self._url).open_async() as app:
            await app.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[Enqueue]:
        """Open the app."""
        async with build_app(self._url).open_async() as app:
            task = app.tasks[TASK]

            async def enqueue(payloads: Sequence[bytes]) -> None:
                arguments: list[dict[str, Any]] = [{"payload": payload.decode()} for payload in payloads]
                await task.batch_defer_async(*arguments)

            yield enqueue
