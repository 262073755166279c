"""How a program beside an example runs: it has a port, and it ends at SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn

import uvloop
from aiohttp import web

from delegator import DelegatorError

Service = Callable[[int], AbstractAsyncContextManager[object]]
"""Serves a port for the length of a `with` block. While the port is open, the service is ready."""


def setting(name: str, default: str | None = None) -> str:
    """Return an environment variable.

    Raises:
        SystemExit: it is not set and has no default.
    """
    value = os.environ.get(name, default)
    if value is None:
        sys.exit(f"set {name}, or run the whole example, which sets it")
    return value


def run_service(service: Service) -> NoReturn:
    """Run a service on the port that `--port` names, and end the process. The exit code is 2 if a server is away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="its port on 127.0.0.1; 0: any")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_stopped(service(parser.parse_args().port)))
    except DelegatorError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


async def _until_stopped(service: AbstractAsyncContextManager[object]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with service:
        await stop.wait()


@asynccontextmanager
async def http_server(application: web.Application, port: int) -> AsyncIterator[None]:
    """Serve an application on the loopback interface."""
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()
