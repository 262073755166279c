"""What the examples share: servers to run on, pools of workers, and a client whose workflows delegate."""

from __future__ import annotations

import asyncio
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from delegator import ConfigurationError, DelegatorError, PluginOptions, Settings, connect
from delegator.dev import RunningStack, StackOptions, embedded_stack
from examples import outgoing
from examples.database import create_tables, schema_of
from examples.programs import Program

_DEFAULT_QUEUE = "default"
SHORT_LEASE = {"DELEGATOR_LEASE": "1s"}
"""A pool's environment in which a killed process keeps its jobs for a second. Unless set, it keeps them for 15."""


class Dispatch(StrEnum):
    """How the activities of a workflow reach a worker."""

    CLASSIC = "classic"
    """Through Temporal: a Temporal worker polls the task queue that has the pool's name."""
    DELEGATED = "delegated"
    """Through PostgreSQL: HTTP workers run the jobs of the queue that has the pool's name."""


@dataclass(frozen=True)
class Pool:
    """Processes that run the jobs of one queue."""

    tasks: Sequence[ModuleType]
    """Modules with the handlers. The tables of the `schema.sql` beside them are created."""
    queue: str = _DEFAULT_QUEUE
    """The queue; with classic dispatch the task queue of the same name."""
    processes: int = 1
    """Number of worker processes; with classic dispatch there is one."""
    concurrency: int = 50
    """Jobs that each process runs at once."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside those of the example."""


@dataclass(frozen=True)
class Service:
    """A server that stands for the outside world. It is there before the pools are."""

    module: str
    """What is run, with `--port`."""
    port_variable: str
    """The environment variable that tells the pools its port."""
    schema: Path | None = None
    """Statements that create the tables of those who use it."""


MAILBOX = Service("examples.mailbox", outgoing.SMTP_PORT, outgoing.SCHEMA)
"""The mail server of all examples that mail."""


class System:
    """An example's processes. `local_system` makes it."""

    def __init__(self, client: Client, dispatch: Dispatch, directory: Path, stack: RunningStack | None) -> None:
        self.client = client
        """For Temporal workers and for callers."""
        self.dispatch = dispatch
        """How activities reach the pools."""
        self.directory = directory
        """For files of the example; removed at the end."""
        self.stack = stack
        """The embedded stack; None: the environment names servers."""
        self.pools: dict[str, Program] = {}
        """The pools, by queue."""
        self.services: dict[str, Program] = {}
        """The services, by module, and what an example starts beside them."""
        self._ports: dict[str, str] = {}
        self._programs: list[Program] = []

    def program(
        self,
        name: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        health_path: str | None = None,
    ) -> Program:
        """Return a program that has its port from here on, and ends with the system. See `Program`."""
        log = self.directory / f"{name}.log"
        program = Program(name, *arguments, log=log, environment=environment, health_path=health_path)
        self._programs.append(program)
        return program

    async def start(self, name: str, *arguments: str, **options: Any) -> Program:
        """Start a program that ends with the system. The arguments are those of `program`.

        Raises:
            DependencyError: it does not start.
        """
        program = self.program(name, *arguments, **options)
        await program.start()
        return program

    async def stop(self) -> None:
        """Stop all programs."""
        await asyncio.gather(*(program.stop() for program in self._programs))
        for program in self._programs:
            program.release()

    async def start_service(self, service: Service) -> None:
        """Start a service. Pools that start later know its port."""
        program = await self.start(service.module, "-m", service.module, "--port", "{port}")
        self.services[service.module] = program
        self._ports[service.port_variable] = str(program.port)

    async def start_pool(self, pool: Pool) -> None:
        """Start the workers of a queue, as HTTP workers or as a Temporal worker."""
        imports = [argument for module in pool.tasks for argument in ("--import", module.__name__)]
        imports += ["--concurrency", str(pool.concurrency), "--port", "{port}"]
        if self.dispatch is Dispatch.DELEGATED:
            command = ["http_workers", *imports, "--queue", pool.queue, "--processes", str(pool.processes)]
            command += ["--grace", "1"]
            health_path = "/readyz"
        else:
            command = ["examples.classic", *imports, "--task-queue", pool.queue]
            health_path = None
        name = f"pool-{pool.queue}"
        environment = {**self._ports, **pool.environment}
        self.pools[pool.queue] = await self.start(
            name, "-m", *command, environment=environment, health_path=health_path
        )


@asynccontextmanager
async def local_system(
    *pools: Pool,
    dispatch: Dispatch = Dispatch.DELEGATED,
    intercept: bool = False,
    services: Sequence[Service] = (),
    workflows: Mapping[str, Sequence[type]] | None = None,
    start_pools: bool = True,
) -> AsyncIterator[System]:
    """Run pools and Temporal workers, and connect, for as long as a `with` block.

    The servers are those that TEMPORAL_ADDRESS and DELEGATOR_DATABASE_URL name. Without these variables an embedded
    stack runs for as long as the block.

    Args:
        pools: the pools.
        dispatch: how activities reach the pools.
        intercept: delegate unchanged `workflow.execute_activity` calls; a call's `task_queue` names the pool. With
            classic dispatch these calls stay ordinary activities, so that a reader can compare.
        services: servers that the pools talk to.
        workflows: the workflows of a Temporal worker, by its task queue. The client brings the plugin along.
        start_pools: False: the example starts them, by `start_pool`, when the servers run that they need.

    Raises:
        DelegatorError: a server can't be reached, or a setting is wrong.
    """
    queues = [pool.queue for pool in pools]
    async with AsyncExitStack() as stack:
        embedded = await stack.enter_async_context(servers(queues))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="delegator-example-")))
        client = await _connect(pools, dispatch, intercept)
        system = System(client, dispatch, directory, embedded)
        stack.push_async_callback(system.stop)
        for schema in _schemas(pools, services):
            await create_tables(schema)
        for service in services:
            await system.start_service(service)
        await together(system.start_pool(pool) for pool in pools if start_pools)
        for task_queue, classes in (workflows or {}).items():
            await stack.enter_async_context(Worker(client, task_queue=task_queue, workflows=classes))
        yield system


async def together(starts: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Start programs at once.

    Raises:
        DelegatorError: one of them does not start.
    """
    try:
        async with asyncio.TaskGroup() as starting:
            for start in starts:
                starting.create_task(start)
    except* DelegatorError as errors:
        raise errors.exceptions[0] from None


def add_dispatch(parser: ArgumentParser) -> None:
    """Add the option `--dispatch` to a command line."""
    parser.add_argument(
        "--dispatch",
        type=Dispatch,
        choices=list(Dispatch),
        default=Dispatch.DELEGATED,
        help="how activities reach the workers (default: delegated)",
    )


def _schemas(pools: Sequence[Pool], services: Sequence[Service]) -> list[Path]:
    beside = [schema_of(module) for pool in pools for module in pool.tasks]
    return [schema for schema in (*beside, *(service.schema for service in services)) if schema and schema.exists()]


async def _connect(pools: Sequence[Pool], dispatch: Dispatch, intercept: bool) -> Client:
    intercept = intercept and dispatch is Dispatch.DELEGATED
    # The runs of an example begin with it, so that no run needs a marker that tells old runs from new ones.
    task_queues = {pool.queue: pool.queue for pool in pools} if intercept else {}
    options = PluginOptions(intercept=intercept, patch=False, task_queues=task_queues)
    return await connect([pool.tasks for pool in pools], options=options)


@asynccontextmanager
async def servers(queues: Sequence[str]) -> AsyncIterator[RunningStack | None]:
    """Have servers for the length of a `with` block: those that the environment names, else an embedded stack.

    Args:
        queues: queues that are needed beside the default one.

    Returns:
        The embedded stack; its addresses are in the environment within the block. None: the environment names servers.

    Raises:
        DelegatorError: a server can't be reached, or a setting is wrong.
    """
    if "TEMPORAL_ADDRESS" in os.environ and "DELEGATOR_DATABASE_URL" in os.environ:
        if missing := set(queues) - set(Settings.load().queues):
            raise ConfigurationError(
                f"DELEGATOR_QUEUES lacks {', '.join(sorted(missing))}: declare the example's queues and migrate, or "
                "unset TEMPORAL_ADDRESS and let it start servers of its own"
            )
        yield None
        return
    options = StackOptions(queues=tuple(dict.fromkeys((_DEFAULT_QUEUE, *queues))))
    async with embedded_stack(options) as stack:
        before = dict(os.environ)
        os.environ.update(stack.environment)
        try:
            yield stack
        finally:
            os.environ.clear()
            os.environ.update(before)
