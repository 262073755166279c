"""What every service process has: how it runs, how it takes its jobs, and how its failed attempts become visible."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

import aiohttp.web
import uvloop
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from delegator import DelegatorError, connect
from examples.payments import contracts
from http_workers import HttpWorker

_log = logging.getLogger("examples.payments")
_SHOWN_ATTEMPTS: Final = 5
"""Every failed attempt up to this one is shown, then every twentieth: a history has room for some thousand signals."""


def setting(name: str, default: str | None = None) -> str:
    """Return an environment variable.

    Raises:
        SystemExit: it is not set and has no default.
    """
    value = os.environ.get(name, default)
    if value is None:
        sys.exit(f"set {name}, or run all services with `python -m examples.payments`")
    return value


def run_service(service: AbstractAsyncContextManager[object]) -> NoReturn:
    """Run a service until SIGTERM or Ctrl-C, or until the process that started it is gone, and end the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(service))
    except DelegatorError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


async def _run(service: AbstractAsyncContextManager[object]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get("PAYMENTS_STARTED_BY") == "system":
        loop.add_reader(sys.stdin.fileno(), stop.set)  # readable when the other end of the pipe is closed
    async with service:
        print("ready", flush=True)
        await stop.wait()


@asynccontextmanager
async def jobs(queue: str, module: ModuleType) -> AsyncIterator[None]:
    """Run the jobs of a queue: as an HTTP worker, or with classic dispatch as Temporal's worker of that task queue."""
    if setting("PAYMENTS_DISPATCH", "delegated") == "delegated":
        async with HttpWorker([module], queue=queue, concurrency=50, interceptors=[ShownAttempts()]):
            yield
        return
    names = {contract.__name__ for contract in contracts.CONTRACTS}
    handlers = [value for name, value in inspect.getmembers(module, inspect.iscoroutinefunction)
                if value.__module__ == module.__name__ and name in names]
    client = await connect(resources=[module])
    async with Worker(client, task_queue=queue, activities=handlers, interceptors=[ShownAttempts()]):
        yield


class ShownAttempts(Interceptor):
    """Signals a payment each failed attempt that is tried again, so that the page can show it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See the base class."""
        return _ShownAttempts(next)


class _ShownAttempts(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except Exception as error:
            info = activity.info()
            final = isinstance(error, ApplicationError) and error.non_retryable
            shown = info.attempt <= _SHOWN_ATTEMPTS or info.attempt % 20 == 0
            if shown and not final and info.workflow_type == "Payment" and info.workflow_id is not None:
                handle = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
                try:
                    await handle.signal("attempt_failed", args=[info.activity_type, info.attempt, str(error)])
                except Exception:  # showing an attempt must not change its outcome
                    _log.warning("the attempt could not be shown", exc_info=True)
            raise


@asynccontextmanager
async def database(schema: Path) -> AsyncIterator[AsyncConnectionPool[AsyncConnection[Any]]]:
    """Open a pool of connections, and create the service's tables if they are missing.

    Args:
        schema: the service's SQL file. Its statements can run twice.
    """
    url = setting("PAYMENTS_DATABASE_URL", os.environ.get("DELEGATOR_DATABASE_URL"))
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(2026)")  # several processes may start at once
        await connection.execute(schema.read_bytes())
    async with AsyncConnectionPool(
        make_conninfo(url, application_name=f"payments {schema.parent.name}"),
        min_size=1, max_size=8, open=False, check=AsyncConnectionPool.check_connection,
    ) as pool:
        yield pool


@asynccontextmanager
async def http_server(application: aiohttp.web.Application, port: int) -> AsyncIterator[None]:
    """Serve an application on the loopback interface."""
    runner = aiohttp.web.AppRunner(application, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        with contextlib.suppress(ConnectionError):
            await runner.cleanup()
