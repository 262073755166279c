"""What the examples share: a stack to run on, HTTP workers, and a client that delegates."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import uvloop
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from delegator.config import Settings
from delegator.dev import embedded_stack
from delegator.dev.processes import Child, Command
from delegator.errors import DelegatorError, TemporalError
from delegator.plugin import DelegatorPlugin

_GRACE = 10.0  # seconds


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
    async with _environment() as environment, _http_workers(tasks, concurrency, environment):
        settings = Settings.load(
            **{name.removeprefix("DELEGATOR_").lower(): value for name, value in environment.items() if "DELEG" in name}
        )
        config = ClientConfig.load_client_connect_config(override_env_vars={**os.environ, **environment})
        try:
            client = await Client.connect(**config, plugins=[DelegatorPlugin(delegated=tasks, settings=settings)])
        except RuntimeError:
            raise TemporalError(f"Temporal at {config.get('target_host')} does not answer") from None
        yield client


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
async def _environment() -> AsyncIterator[Mapping[str, str]]:
    if "TEMPORAL_ADDRESS" in os.environ and "DELEGATOR_DATABASE_URL" in os.environ:
        yield {}
        return
    async with embedded_stack() as stack:
        yield stack.environment


@asynccontextmanager
async def _http_workers(
    tasks: Sequence[ModuleType], concurrency: int, environment: Mapping[str, str]
) -> AsyncIterator[None]:
    imports = [argument for module in tasks for argument in ("--import", module.__name__)]
    processes = ("--processes", str(os.cpu_count() or 1), "--concurrency", str(concurrency))
    with tempfile.TemporaryDirectory() as directory:
        command = Command(
            argv=(sys.executable, "-m", "http_workers", *imports, *processes),
            log=Path(directory, "http-workers.log"),
            environment={**os.environ, **environment},
            death_signal=signal.SIGTERM,
        )
        workers = await Child.spawn(command)
        try:
            yield
        finally:
            await workers.stop(signal.SIGTERM, _GRACE)
