"""The pgqueuer worker process: `python -m loadtest.peers.pgqueuer_worker`."""

from __future__ import annotations

import asyncio
import os

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job

from delegator.runtime.shutdown import shutdown_signals
from loadtest.peers.pgqueuer_queue import BATCH_SIZE, ENTRYPOINT, MANAGERS
from loadtest.peers.scratch import URL_VARIABLE
from loadtest.queues.executions import record


async def swallow(job: Job) -> None:
    """Take a job."""
    record(job.payload or b"")


async def serve(url: str) -> None:
    """Run until SIGTERM.

    Args:
        url: of the database that holds the tables.
    """
    connections = [await asyncpg.connect(url) for _ in range(MANAGERS)]
    managers = [PgQueuer.from_asyncpg_connection(connection) for connection in connections]
    for manager in managers:
        manager.entrypoint(ENTRYPOINT)(swallow)

    try:
        async with shutdown_signals() as shutdown, asyncio.TaskGroup() as group:
            for manager in managers:
                group.create_task(manager.run(batch_size=BATCH_SIZE))
            await shutdown.requested.wait()
            for manager in managers:
                manager.shutdown.set()
    finally:
        for connection in connections:
            await connection.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(os.environ[URL_VARIABLE]))
