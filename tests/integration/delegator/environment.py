"""A whole engine for tests: database, relay, HTTP workers as processes, sweeper, and Temporal workers on demand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from prometheus_client import CollectorRegistry
from psycopg.rows import dict_row
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from delegator import DelegatorPlugin, PluginOptions
from delegator.completion.namespaces import Namespaces
from delegator.completion.signals import SignalSender
from delegator.completion.task_outcomes import TaskOutcomes
from delegator.config import Settings
from delegator.contracts import collect_types
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.enqueue.activity_worker import activity_worker
from delegator.enqueue.enqueuer import Enqueuer
from delegator.maintenance.elector import Elector
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.run_watch import RunWatch, RunWatchOptions
from delegator.maintenance.signaller import Signaller
from delegator.maintenance.sweeper import Sweeper, SweeperOptions
from delegator.operating import pausing
from delegator.postgres.connections import connection_pool
from delegator.postgres.lease_keeper import holder_name
from delegator.postgres.queue_table import QueueTable
from delegator.relay import RelayOptions, running_relay
from delegator.runtime.temporal_client import load_data_converter
from tests.integration.delegator import failing, failing_flows, flows, tasks
from tests.support import Databases, read_ledger
from tests.support.watches import database_watch

ROOT = Path(__file__).parents[3]
TASKS = "tests.integration.delegator.tasks"
FAILING = "tests.integration.delegator.failing"
OTHER_TASKS = "tests.integration.delegator.other_tasks"
RESULT_TIMEOUT = 60.0
UNFINISHED = "outcome IS NULL OR waiter_id IS NULL"
OUTCOMES_SIGNAL = "delegator.outcomes"
PATIENT = PluginOptions(inline_wait=timedelta(seconds=8), result_ttl=timedelta(milliseconds=200), connections=2)
"""Waits inline for as long as it may, so that what can finish inline does, however busy the machine."""
SIGNALLED = replace(PATIENT, inline_wait=timedelta(0))
BRIEF = replace(PATIENT, inline_wait=timedelta(milliseconds=50))
SHARED_MODULES = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules("tests"))
"""The sandbox, but for its import of the workflow's module for every workflow and for every class at a worker's start.

Each such import of `flows` takes 10 ms of CPU time, more than most of its workflows.
"""


async def eventually(probe: Callable[[], Awaitable[Any]], *, within: float = 60.0) -> Any:
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(within):
        while not (answer := await probe()):
            await asyncio.sleep(0.01)
        return answer


@dataclass(frozen=True)
class SeenJob:
    """A job that has not ended, or whose outcome its workflow has not got."""

    is_finished: bool
    cancel_requested: bool
    is_awaited: bool
    """A local activity waits for it inline."""
    retry_in: timedelta | None
    """How long the failed attempt before has it wait; None: it does not wait for a retry."""


@dataclass(frozen=True)
class SeenDeadLetter:
    """A job that was given up."""

    reason: str
    error: str
    job_type: str
    attempt: int
    queue: str
    is_complete: bool
    """Its arguments and its failure are there."""


@dataclass(frozen=True)
class HttpWorker:
    """An HTTP worker's process."""

    process: asyncio.subprocess.Process
    log: Path

    def kill(self) -> None:
        self.process.kill()


class Environment:
    """What a test works with."""

    def __init__(self, client: Client, settings: Settings, directory: Path, variables: dict[str, str]) -> None:
        self.client = client
        self.settings = settings
        self.directory = directory
        self.variables = variables

    def ledger(self, workflow_id: str) -> list[tuple[str, int]]:
        """Return what the handlers of a workflow's jobs noted: (event, attempt), in order."""
        return [(line["event"], line["attempt"]) for line in self.ledger_lines() if line["workflow"] == workflow_id]

    def ledger_lines(self) -> list[dict[str, Any]]:
        return read_ledger(self.directory / "ledger")

    def logs(self) -> str:
        """Return what the HTTP workers logged."""
        return "\n".join(path.read_text() for path in self.directory.glob("*.log"))

    async def noted(self, workflow_id: str, event: str, count: int = 1) -> None:
        """Wait until handlers noted an event so many times."""

        async def seen() -> bool:
            return sum(noted == event for noted, _ in self.ledger(workflow_id)) >= count

        await eventually(seen)

    @contextmanager
    def held(self, workflow_id: str) -> Any:
        """Hold back the handlers of a workflow's jobs within the block."""
        gate = self.directory / f"hold-{workflow_id}"
        gate.touch()
        try:
            yield
        finally:
            gate.unlink()

    def searchable(self) -> Environment:
        """Return the same with search attributes: its workers' workflows set them."""
        settings = self.settings.model_copy(update={"search_attributes": True})
        return Environment(self.client, settings, self.directory, self.variables)

    def plugin(self, options: PluginOptions = PATIENT, *, intercept: bool | None = None) -> DelegatorPlugin:
        """Return a plugin for a worker, or for a replayer."""
        return DelegatorPlugin([tasks, failing], settings=self.settings, options=options, intercept=intercept)

    @asynccontextmanager
    async def worker(
        self, options: PluginOptions = PATIENT, *, intercept: bool = False, task_queue: str | None = None, **config: Any
    ) -> AsyncIterator[str]:
        """Run a Temporal worker; its task queue."""
        plugin = self.plugin(options, intercept=intercept)
        task_queue = task_queue or f"queue-{uuid.uuid4()}"
        config = {
            "workflows": [*flows.ALL, failing_flows.TellsFailure],
            "workflow_runner": SHARED_MODULES,
            **config,
        }
        async with Worker(self.client, task_queue=task_queue, plugins=[plugin], **config):
            yield task_queue

    @asynccontextmanager
    async def activity_worker(self, **config: Any) -> AsyncIterator[str]:
        """Run the delegator's activity worker beside a worker that only runs workflows; their task queue."""
        url = self.settings.database_url.get_secret_value()
        ordered = self.settings.ordered_queues
        tables = [QueueTable(queue, ordered=queue in ordered) for queue in self.settings.queues]
        async with (
            self.worker(**config) as task_queue,
            connection_pool(url, application_name="test activity worker", size=2) as pool,
            Enqueuer(pool, tables, self.client.namespace) as enqueuer,
            activity_worker(self.client, task_queue, collect_types([tasks]).values(), enqueuer),
        ):
            yield task_queue

    async def start(self, workflow: Any, *args: Any, task_queue: str, **options: Any) -> WorkflowHandle[Any, Any]:
        options = {"id": f"{workflow.__qualname__}-{uuid.uuid4()}", **options}
        return await self.client.start_workflow(
            workflow, args=args, task_queue=task_queue, execution_timeout=timedelta(seconds=90), **options
        )

    async def execute(self, workflow: Any, *args: Any, task_queue: str, **options: Any) -> Any:
        return await self.result(await self.start(workflow, *args, task_queue=task_queue, **options))

    async def result(self, handle: WorkflowHandle[Any, Any]) -> Any:
        """Return a workflow's result; a workflow that is stuck fails the test with what is known of its jobs."""
        try:
            async with asyncio.timeout(RESULT_TIMEOUT):
                return await handle.result()
        except TimeoutError:
            events = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
            jobs = await self.jobs(handle.id)
            raise AssertionError(
                f"{handle.id} is stuck\nhistory: {events}\njobs: {jobs}\nhandlers: {self.ledger(handle.id)}\n"
                + self.logs()[-5000:]
            ) from None

    async def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        url = self.settings.database_url.get_secret_value()
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as connection:
            return await (await connection.execute(statement, parameters)).fetchall()  # type: ignore[arg-type]

    async def rows(self, condition: str = "true", *parameters: Any) -> list[dict[str, Any]]:
        found = []
        for queue in self.settings.queues:
            found += await self.query(f"SELECT * FROM {queue_table(queue)} WHERE {condition}", *parameters)
        return found

    @asynccontextmanager
    async def paused(self, job_type: str) -> AsyncIterator[None]:
        """Pause a type within the block."""
        await pausing.pause(self.settings, self.settings.queues, job_type, paused_by="test", note=None, wait=False)
        try:
            yield
        finally:
            await pausing.resume(self.settings, self.settings.queues, job_type)

    async def jobs(self, workflow_id: str) -> list[SeenJob]:
        return [
            SeenJob(
                is_finished=row["outcome"] is not None,
                cancel_requested=row["cancel_requested"],
                is_awaited=row["waiter_id"] is not None,
                retry_in=row["retry_at"] - row["published_at"] if row["retry_at"] else None,
            )
            for row in await self.rows("workflow_id = %s", workflow_id)
        ]

    async def backs_off(self, workflow_id: str) -> SeenJob:
        """Wait until a job of the workflow waits for a retry."""

        async def waits() -> list[SeenJob]:
            return [job for job in await self.jobs(workflow_id) if job.retry_in is not None]

        found: list[SeenJob] = await eventually(waits)
        return found[0]

    async def dead_letters(self, workflow_id: str) -> list[SeenDeadLetter]:
        return [
            SeenDeadLetter(
                row["reason"],
                row["error"],
                row["job_type"],
                row["attempt"],
                row["queue"],
                is_complete=bool(row["input"] and row["failure"]),
            )
            for row in await self.query("SELECT * FROM custom_task_dead_letter WHERE workflow_id = %s", workflow_id)
        ]

    async def stored(self) -> list[Any]:
        """Return what the database holds, and what the HTTP workers logged."""
        letters = await self.query("SELECT * FROM custom_task_dead_letter")
        return [*await self.rows(), *letters, self.logs()]

    async def unfinished(self) -> list[Any]:
        """Return what is known of all jobs that have not ended, but for their arguments."""
        return [{k: v for k, v in row.items() if k != "input"} for row in await self.rows(UNFINISHED)]

    async def nothing_left(self) -> None:
        """Wait until no unfinished row is left; finished ones may still be there, for the result TTL."""

        async def is_empty() -> bool:
            return not await self.unfinished()

        try:
            await eventually(is_empty)
        except TimeoutError:
            raise AssertionError(f"jobs are left: {await self.unfinished()}") from None

    @asynccontextmanager
    async def http_worker(
        self, *arguments: str, modules: Sequence[str] = (TASKS, FAILING), **variables: str
    ) -> AsyncIterator[HttpWorker]:
        """Run an HTTP worker's process, ready when the block begins."""
        log = Path(tempfile.mkstemp(prefix="http-worker-", suffix=".log", dir=self.directory)[1])
        imports = [part for module in modules for part in ("--import", module)]
        with log.open("wb") as output:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "http_workers", *imports, "--grace", "5", *arguments),
                cwd=ROOT,
                env={**self.variables, **variables},
                stdout=output,
                stderr=output,
            )

        async def is_up() -> bool:
            if process.returncode is not None:
                raise AssertionError(f"the http worker ended:\n{log.read_text()}")
            return "worker_started" in log.read_text()

        try:
            await eventually(is_up)
            yield HttpWorker(process, log)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.wait()

    @asynccontextmanager
    async def sweeper(self) -> AsyncIterator[None]:
        """Run a sweeper on this event loop, with short intervals."""
        url = self.settings.database_url.get_secret_value()
        sender = SignalSender(self.client, identity="sweeper")
        converter, metrics = self.client.data_converter, MaintenanceMetrics(CollectorRegistry())
        options = SweeperOptions(interval=timedelta(milliseconds=50), full_interval=timedelta(seconds=1))
        watch = database_watch(self.settings)
        async with connection_pool(url, application_name="test sweeper", size=2) as pool:
            signallers = [
                Signaller(
                    queue,
                    pool=pool,
                    database=watch,
                    signals=sender,
                    tasks=TaskOutcomes(self.client, Namespaces(), identity="sweeper"),
                    converter=converter,
                    metrics=metrics,
                    interval=options.full_interval,
                )
                for queue in self.settings.queues
            ]
            run_watch = RunWatch(
                self.settings.queues,
                pool=pool,
                database=watch,
                client=self.client,
                metrics=metrics,
                options=RunWatchOptions(interval=timedelta(seconds=0.2), age=timedelta(seconds=0.5)),
            )
            sweeper = Sweeper(
                self.settings.queues,
                ordered=self.settings.ordered_queues,
                signallers=signallers,
                run_watch=run_watch,
                database=watch,
                converter=converter,
                identity="sweeper",
                metrics=metrics,
                options=options,
            )
            elector = Elector(url, lambda leads: None, watch)
            task = asyncio.create_task(elector.run(sweeper.run), name="sweeper")
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await sender.close()


@asynccontextmanager
async def environment(
    databases: Databases,
    temporal: TemporalServer,
    *,
    queues: tuple[str, ...] = (DEFAULT_QUEUE,),
    ordered: tuple[str, ...] = (),
    data_converter: str | None = None,
    http_worker: bool = True,
) -> AsyncIterator[Environment]:
    """Start an engine of its own on the shared servers."""
    converter = load_data_converter(data_converter)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="delegator-test-")))
        database = await stack.enter_async_context(databases.fresh(queues))
        relay = await stack.enter_async_context(running_relay(RelayOptions.from_settings(database.settings, port=0)))
        settings = database.settings.model_copy(
            update={
                "stream_url": relay.url,
                "data_converter": data_converter,
                "lease": timedelta(seconds=3),
                "ordered_queues": ordered,
            }
        )
        client = await Client.connect(
            temporal.address, namespace=NAMESPACE, data_converter=converter, identity=f"test {holder_name()}"
        )
        variables = {
            **os.environ,
            "DELEGATOR_DATABASE_URL": database.url,
            "DELEGATOR_STREAM_URL": relay.url,
            "DELEGATOR_QUEUES": ",".join(queues),
            "DELEGATOR_ORDERED_QUEUES": ",".join(ordered),
            "DELEGATOR_LEASE": "PT3S",
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            tasks.DIRECTORY_VARIABLE: str(directory),
        }
        if data_converter is not None:
            variables["DELEGATOR_DATA_CONVERTER"] = data_converter
        made = Environment(client, settings, directory, variables)
        await stack.enter_async_context(made.sweeper())
        if http_worker:
            await stack.enter_async_context(made.http_worker())
        yield made
