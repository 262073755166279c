"""What the examples share: a stack to run on, HTTP workers, and a client that delegates."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any, NoReturn

import uvloop
from temporalio.client import Client

from delegator import DelegatorError, connect
from delegator.dev import embedded_stack


@asynccontextmanager
async def delegating_client(tasks: Sequence[ModuleType], *, concurrency: int = 50) -> AsyncIterator[Client]:
    """Provide a client for workflows that delegate, and HTTP workers that run their jobs.

    Both use the servers that TEMPORAL_ADDRESS and DELEGATOR_DATABASE_URL name; without them an embedded stack
    runs for as long as the block.

    Args:
        tasks: modules with the handlers.
        concurrency: jobs that each worker process (one per core) runs at once.

    Raises:
        DelegatorError: a server can't be reached, or a setting is wrong.
    """
    async with _servers(), _http_workers(tasks, concurrency):
        yield await connect(tasks)


def run_example(example: Coroutine[Any, Any, None]) -> NoReturn:
    """Run an example and end the process: 0, 2 with one line when a server or a setting is wrong, 130 on Ctrl-C."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(example)
    except DelegatorError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@asynccontextmanager
async def _servers() -> AsyncIterator[None]:
    if "TEMPORAL_ADDRESS" in os.environ and "DELEGATOR_DATABASE_URL" in os.environ:
        yield
        return
    async with embedded_stack() as stack:
        os.environ.update(stack.environment)
        yield


@asynccontextmanager
async def _http_workers(tasks: Sequence[ModuleType], concurrency: int) -> AsyncIterator[None]:
    imports = [argument for module in tasks for argument in ("--import", module.__name__)]
    processes = ("--processes", str(os.cpu_count() or 1), "--concurrency", str(concurrency))
    with tempfile.TemporaryFile() as log:
        workers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "http_workers", *imports, *processes, "--grace", "1"),
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is for the example, which then stops them
        )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                workers.terminate()
            await workers.wait()
