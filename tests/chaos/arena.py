"""The stack of the chaos tests: real processes, with a faulty network between each of them and its servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import aiohttp
import psycopg
from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client
from temporalio.service import RPCError

from delegator.dev.component import Component
from delegator.dev.directory import StackDirectory
from delegator.dev.migrations import migrate_database
from delegator.dev.postgres import Postgres
from delegator.dev.processes import Child
from delegator.dev.programs import Program, ProgramSpec
from delegator.dev.temporal import NAMESPACE, TemporalServer
from tests.chaos.proxy import Proxy, proxied
from tests.chaos.tasks import LEDGER_VARIABLE, SLOW_QUEUE

ROOT = Path(__file__).parents[2]
LEASE = 3.0
"""Seconds for which a silent process keeps what it holds."""
QUEUES = (DEFAULT_QUEUE, SLOW_QUEUE)
TABLES = tuple(queue_table(queue) for queue in QUEUES)
INLINE, SIGNALLED = "inline", "signalled"
"""Temporal task queues: of a worker that waits inline for a second, and of one that never does."""

AN_HOUR_AHEAD = ("tests.chaos.skewed", "3600")
AN_HOUR_BEHIND = ("tests.chaos.skewed", "-3600")
"""How a process is run with a clock that nothing may depend on."""


class Process(Program):
    """One process of the engine's, with a connection of its own to each server."""

    def __init__(self, *arguments: str, name: str, log: Path, health_path: str | None, ready_line: str = "") -> None:
        self.environment: dict[str, str] = {}
        spec = ProgramSpec(name=name, arguments=arguments, health_path=health_path)
        super().__init__(spec, log, self.environment, preferred_port=None)
        self._ready_line = ready_line
        self._started = 0
        self.database = Proxy(f"{name} -> postgres")
        self.temporal = Proxy(f"{name} -> temporal")
        self.stream = Proxy(f"{name} -> relay")

    async def is_ready(self, child: Child) -> bool:
        """Say whether its health check passes or, of one that has none, whether it said that it has started."""
        if self._ready_line:
            if self._ready_line in child.tail(1_000):
                self._started = child.pid
            return self._started == child.pid
        return await super().is_ready(child)

    async def answers(self) -> bool:
        return self.child is not None and self.child.returncode is None and await self.is_ready(self.child)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@dataclass
class Arena:
    """What a scenario works with."""

    directory: Path
    postgres: Postgres
    temporal: TemporalServer
    relay: Process
    serves: tuple[Process, Process]
    http: tuple[Process, Process]
    slow_http: Process
    enqueuers: dict[str, Process]
    client: Client | None = None
    held: set[str] = field(default_factory=set)
    """Jobs that were held, or waited for, by what a fault hit, when it hit."""

    @property
    def workers(self) -> tuple[Process, ...]:
        return (*self.http, self.slow_http)

    @property
    def processes(self) -> tuple[Process, ...]:
        return (self.relay, *self.serves, *self.workers, *self.enqueuers.values())

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    @property
    def database_proxies(self) -> list[Proxy]:
        return [process.database for process in self.processes]

    @property
    def temporal_proxies(self) -> list[Proxy]:
        return [process.temporal for process in self.processes]

    @property
    def stream_proxies(self) -> list[Proxy]:
        return [process.stream for process in self.workers]

    async def query(self, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL, past the proxies."""
        async with await psycopg.AsyncConnection.connect(self.postgres.url(), autocommit=True) as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def rows(self, condition: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return (job id, lease id, waiter id, outcome) of rows of all queues."""
        found = []
        for table in TABLES:
            statement = f"SELECT job_id, lease_id, waiter_id, outcome FROM {table} AS q WHERE {condition}"
            found += await self.query(statement, *parameters)  # type: ignore[arg-type]
        return found

    async def note_held(self, *processes: Process, pids: Iterable[int] = ()) -> set[str]:
        """Excuse a second execution of the jobs that processes hold or wait for, by what the leases say."""
        holders = [f"{pid}@%" for pid in (*pids, *(process.pid for process in processes))]
        found = await self.rows(
            "outcome IS NULL AND EXISTS (SELECT FROM custom_task_lease l "
            "WHERE l.lease_id IN (q.lease_id, q.waiter_id) AND l.holder LIKE ANY(%s))",
            holders,
        )
        jobs = {row[0] for row in found}
        self.held |= jobs
        return jobs

    async def kill(self, process: Process) -> float:
        """kill -9, and excuse what the process held; return when it died (monotonic)."""
        pid = process.pid
        await process.kill()
        died = time.monotonic()
        # PostgreSQL still runs what the process had sent. Its jobs are not published again before its lease ends.
        while time.monotonic() < died + LEASE / 6:
            await self.note_held(pids=[pid])
        return died

    async def leader(self) -> Process:
        """The `serve` process that leads."""

        async def look() -> Process | None:
            held = await self.query(
                "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid) "
                "WHERE locktype = 'advisory' AND granted AND application_name = 'delegator leader'"
            )
            ports = {port for (port,) in held}
            return next((serve for serve in self.serves if ports & serve.database.far_ports), None)

        return await eventually(look, what="a leader")

    async def republished(self, reason: str) -> float:
        """Return how many jobs the sweepers have republished for a reason."""
        total = 0.0
        async with aiohttp.ClientSession() as session:
            for serve in self.serves:
                async with session.get(f"{serve.url}/metrics") as response:
                    families = text_string_to_metric_families(await response.text())
                samples = (sample for family in families for sample in family.samples)
                total += sum(
                    sample.value
                    for sample in samples
                    if sample.name == "delegator_maintenance_republished_total" and sample.labels["reason"] == reason
                )
        return total

    async def heal(self) -> None:
        """Make everything run, and wait until it does."""
        self.held.clear()
        for process in self.processes:
            if process.child is not None and process.child.returncode is None:
                process.signal(signal.SIGCONT)
            for proxy in (process.database, process.temporal, process.stream):
                proxy.heal()
        for component in (self.postgres, self.temporal, *self.processes):
            if component.child is None or component.child.returncode is not None:
                await component.start()
        for process in self.processes:
            await eventually(process.answers, what=f"{process.name} to be ready")
        await self.leader()
        await self._clear()

    async def _clear(self) -> None:
        """Remove what a scenario that failed has left."""
        assert self.client is not None
        async for workflow in self.client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(RPCError):
                await self.client.get_workflow_handle(workflow.id).terminate()
        for table in TABLES:
            await self.query(f"DELETE FROM {table} WHERE outcome IS NULL")  # type: ignore[arg-type]


async def eventually(look: Callable[[], Awaitable[Any]], *, within: float = 60.0, what: str = "it") -> Any:
    """Look until the answer is true, and return it."""
    try:
        async with asyncio.timeout(within):
            while not (found := await look()):
                await asyncio.sleep(0.02)
            return found
    except TimeoutError:
        raise AssertionError(f"waited {within:g} s for {what}") from None


def _program(name: str, directory: StackDirectory, *arguments: str, **options: Any) -> Process:
    return Process(*arguments, name=name, log=directory.log(name), **options)


def _http_worker(
    name: str, directory: StackDirectory, queue: str, concurrency: int, skew: tuple[str, ...] = ()
) -> Process:
    options = ("--queue", queue, "--concurrency", str(concurrency), "--grace", "2", "--port", "{port}")
    arguments = ("-m", *skew, "http_workers", "--import", "tests.chaos.tasks", *options)
    return _program(name, directory, *arguments, health_path="/readyz")


def _enqueuer(name: str, directory: StackDirectory, inline_wait: float) -> Process:
    arguments = ("-m", "tests.chaos.worker_main", name, str(inline_wait))
    return _program(f"enqueuer-{name}", directory, *arguments, health_path=None, ready_line="worker_started")


@asynccontextmanager
async def arena() -> AsyncIterator[Arena]:
    """Run an arena for the length of a block."""
    directory = StackDirectory.open(None, keep=False)
    async with AsyncExitStack() as stack:
        stack.callback(directory.close)
        serve = ("delegator", "serve", "--port", "{port}")
        made = Arena(
            directory=directory.path,
            postgres=Postgres(
                directory.path / "postgres", directory.log("postgres"), durable=False, preferred_port=None
            ),
            temporal=TemporalServer(
                directory.log("temporal"),
                database=directory.path / "temporal.db",
                headless=True,
                preferred_port=None,
                preferred_ui_port=None,
            ),
            relay=_program("relay", directory, "-m", "delegator", "relay", "--port", "{port}", health_path="/health"),
            serves=(
                _program("serve-a", directory, "-m", *serve, health_path="/livez"),
                _program("serve-b", directory, "-m", *AN_HOUR_BEHIND, *serve, health_path="/livez"),
            ),
            http=(
                _http_worker("http-a", directory, DEFAULT_QUEUE, 30),
                _http_worker("http-b", directory, DEFAULT_QUEUE, 30, AN_HOUR_AHEAD),
            ),
            slow_http=_http_worker("http-slow", directory, SLOW_QUEUE, 10),
            enqueuers={
                INLINE: _enqueuer(INLINE, directory, 1.0),
                SIGNALLED: _enqueuer(SIGNALLED, directory, 0.0),
            },
        )
        made.ledger.touch()
        components: Sequence[Component] = (made.postgres, made.temporal, *made.processes)
        stack.push_async_callback(_end, components)
        async with asyncio.TaskGroup() as group:
            group.create_task(made.postgres.start())
            group.create_task(made.temporal.start())
        await migrate_database(await made.postgres.ensure_database(), QUEUES)
        await _connect(made, directory.token(), stack)
        async with asyncio.TaskGroup() as group:
            for process in made.processes:
                group.create_task(process.start())
        made.client = await Client.connect(made.temporal.address, namespace=NAMESPACE)
        await made.heal()
        yield made


async def _connect(arena: Arena, token: str, stack: AsyncExitStack) -> None:
    for process in arena.processes:
        for proxy, port in (
            (process.database, arena.postgres.ports[0]),
            (process.temporal, arena.temporal.ports[0]),
            (process.stream, arena.relay.ports[0]),
        ):
            await stack.enter_async_context(proxied(proxy, port))
        url = arena.postgres.url().replace(f":{arena.postgres.ports[0]}/", f":{process.database.port}/")
        process.environment |= {
            "DELEGATOR_DATABASE_URL": url,
            "DELEGATOR_STREAM_URL": f"http://{process.stream.address}",
            "DELEGATOR_STREAM_TOKEN": token,
            "DELEGATOR_QUEUES": ",".join(QUEUES),
            "DELEGATOR_LEASE": f"PT{LEASE:g}S",
            "TEMPORAL_ADDRESS": process.temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "PYTHONPATH": str(ROOT),
            LEDGER_VARIABLE: str(arena.ledger),
        }


async def _end(components: Sequence[Component]) -> None:
    async with asyncio.TaskGroup() as group:
        for component in components:
            group.create_task(component.kill())
    for component in components:
        component.release()


TASK_TIMEOUT = timedelta(seconds=3)
"""Of workflow tasks: how long Temporal waits for a dead enqueuer. (Its default is 10 s.)"""
NOBODY_DIES = timedelta(seconds=30)
"""The same where no enqueuer dies. It is long: a busy machine may delay a task until it is run again; if a signal comes
just then, the second run would enqueue again what the signal has completed."""
