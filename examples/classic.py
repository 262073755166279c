"""`python -m examples.classic`: a pool of `--dispatch classic`.

It is a Temporal worker. Delegated functions are activities, so it runs them as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta

import uvloop
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from delegator import Resource


async def main(modules: list[str], task_queue: str, concurrency: int, port: int) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    found = [value for name in modules for value in vars(importlib.import_module(name)).values()]
    client = await Client.connect(**ClientConfig.load_client_connect_config())
    async with AsyncExitStack() as stack:
        for value in found:
            if isinstance(value, Resource):
                stack.enter_context(value.provide(await stack.enter_async_context(value.open())))
        worker = Worker(
            client,
            task_queue=task_queue,
            activities=[value for value in found if hasattr(value, "__temporal_activity_definition")],
            activity_executor=stack.enter_context(ThreadPoolExecutor(concurrency)),
            max_concurrent_activities=concurrency,
            graceful_shutdown_timeout=timedelta(seconds=1),
        )
        await stack.enter_async_context(worker)
        # Open while the worker runs, so that the example knows when it does.
        await stack.enter_async_context(await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port))
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.classic", description=__doc__)
    parser.add_argument("--import", dest="modules", action="append", required=True, help="module with activities")
    parser.add_argument("--task-queue", required=True)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--port", type=int, required=True, help="is open while the worker runs")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments.modules, arguments.task_queue, arguments.concurrency, arguments.port))
