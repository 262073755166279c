"""`python -m examples.classic`: a pool of `--dispatch classic`.

It is a Temporal worker. Delegated functions are activities, so it runs them as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from types import ModuleType

import uvloop
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import Interceptor, Worker

from delegator import Resource


@asynccontextmanager
async def temporal_worker(
    client: Client,
    modules: Iterable[ModuleType],
    task_queue: str,
    concurrency: int,
    interceptors: Sequence[Interceptor] = (),
) -> AsyncIterator[None]:
    """Run the delegated functions of some modules as ordinary activities, with the modules' resources open."""
    found = [value for module in modules for value in vars(module).values()]
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
            interceptors=interceptors,
        )
        await stack.enter_async_context(worker)
        yield


async def main(modules: list[str], task_queue: str, concurrency: int, port: int) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(**ClientConfig.load_client_connect_config())
    async with (
        temporal_worker(client, map(importlib.import_module, modules), task_queue, concurrency),
        # Open while the worker runs, so that the example knows when it does.
        await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port),
    ):
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
