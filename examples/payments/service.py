"""What every service process has: how it runs, how it takes its jobs, and how it serves HTTP."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import uvloop
from aiohttp import web
from temporalio.worker import Worker

from delegator import DelegatorError, Resource, connect
from examples.database import create_tables
from examples.payments.attempts import ShownAttempts
from http_workers import HttpWorker

_LOOPBACK = "127.0.0.1"
_CONCURRENCY = 50
_GRACE = timedelta(seconds=1)


def setting(name: str, default: str | None = None) -> str:
    """Return an environment variable.

    Raises:
        SystemExit: it is not set and has no default.
    """
    value = os.environ.get(name, default)
    if value is None:
        sys.exit(f"set {name}, or run all services with `python -m examples.payments`")
    return value


def is_delegated() -> bool:
    """Return whether jobs go through PostgreSQL, or through Temporal (`classic`)."""
    return setting("PAYMENTS_DISPATCH", "delegated") == "delegated"


def run_service(service: Callable[[int], AbstractAsyncContextManager[object]]) -> NoReturn:
    """Run a service until SIGTERM or Ctrl-C, and end the process.

    Args:
        service: returns the service for a port. While the port is open, the service is ready.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="its port on 127.0.0.1; 0: any")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(service(parser.parse_args().port)))
    except DelegatorError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


async def _run(service: AbstractAsyncContextManager[object]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with service:
        await stop.wait()


def jobs(
    queue: str, module: ModuleType, schema: Path | None = None
) -> Callable[[int], AbstractAsyncContextManager[None]]:
    """Return the service that runs the jobs of a queue.

    It is an HTTP worker. With classic dispatch it is a Temporal worker of the task queue of that name, which runs the
    same functions as ordinary activities.

    Args:
        queue: the queue.
        module: has the handlers and their resources.
        schema: creates the service's tables.
    """

    @asynccontextmanager
    async def service(port: int) -> AsyncIterator[None]:
        if schema is not None:
            await create_tables(schema)
        pool = _http_worker(queue, module) if is_delegated() else _temporal_worker(queue, module)
        async with pool, http_server(web.Application(), port):
            yield

    return service


def _http_worker(queue: str, module: ModuleType) -> AbstractAsyncContextManager[object]:
    interceptors = [ShownAttempts()]
    return HttpWorker([module], queue=queue, concurrency=_CONCURRENCY, interceptors=interceptors, grace=_GRACE)


@asynccontextmanager
async def _temporal_worker(queue: str, module: ModuleType) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for value in vars(module).values():
            if isinstance(value, Resource):
                stack.enter_context(value.provide(await stack.enter_async_context(value.open())))
        worker = Worker(
            await connect(),
            task_queue=queue,
            activities=[value for value in vars(module).values() if hasattr(value, "__temporal_activity_definition")],
            interceptors=[ShownAttempts()],
            max_concurrent_activities=_CONCURRENCY,
            graceful_shutdown_timeout=_GRACE,
        )
        await stack.enter_async_context(worker)
        yield


@asynccontextmanager
async def http_server(application: web.Application, port: int) -> AsyncIterator[None]:
    """Serve an application on the loopback interface."""
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, _LOOPBACK, port).start()
        yield
    finally:
        await runner.cleanup()
