"""The procrastinate worker process: `python -m loadtest.peers.procrastinate_worker`."""

from __future__ import annotations

import asyncio
import os

import uvloop

from loadtest.peers.procrastinate_queue import CONCURRENCY, build_app
from loadtest.peers.scratch import URL_VARIABLE


async def serve(url: str) -> None:
    """Run until SIGTERM, which procrastinate handles.

    Args:
        url: of the database that holds the tables.
    """
    async with build_app(url).open_async() as app:
        await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="always")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(os.environ[URL_VARIABLE]))
