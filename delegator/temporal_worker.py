"""`delegator worker`: a process that runs delegating workflows and ordinary activities."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from delegator_schema.roles import ENQUEUER
from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.worker import Worker

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.plugin import DelegatorPlugin, PluginOptions
from delegator.postgres.schema_check import check
from delegator.runtime.build_info import new_registry
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.modules import WorkflowModules
from delegator.runtime.sdk_metrics import runtime_with_metrics
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.shutdown import shutdown_signals
from delegator.runtime.startup import wait_for
from delegator.runtime.temporal_client import check_namespace, connect_temporal, load_data_converter, watch_temporal
from delegator.runtime.temporal_settings import temporal_settings

_log = logging.getLogger(__name__)
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalWorkerOptions:
    """The options of `delegator worker`."""

    task_queue: str
    """The Temporal task queue."""
    plugin: PluginOptions = field(default_factory=PluginOptions)
    """How workflows delegate."""
    max_workflow_tasks: int | None = None
    """Largest number of workflow tasks at a time; None: the SDK's default."""
    max_activities: int = 100
    """Largest number of activities at a time. Plain functions run in as many threads."""
    grace: timedelta = timedelta(seconds=30)
    """How long running activities may go on after a request to stop."""
    host: str = "127.0.0.1"
    """Address of the health and metrics server."""
    port: int = 0
    """Its TCP port; 0: none."""
    tls: TlsFiles | None = None
    """Its certificate; None: it serves plain HTTP."""
    sdk_port: int = 0
    """TCP port of the SDK's own metrics (`temporal_*`), at the same address; 0: none."""
    stall_limit: timedelta = timedelta(seconds=30)
    """How long the event loop may be blocked before `/livez` says so."""

    def validate(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: names the option.
        """
        if not self.task_queue:
            raise ConfigurationError("--task-queue: name the Temporal task queue")
        for name, value, least in (
            ("--max-workflow-tasks", self.max_workflow_tasks, 2),
            ("--max-activities", self.max_activities, 1),
        ):
            if value is not None and not least <= value <= _MOST:
                raise ConfigurationError(f"{name} {value}: must be from {least} to {_MOST}")
        for name, port in (("--port", self.port), ("--sdk-port", self.sdk_port)):
            if not 0 <= port <= 65_535:
                raise ConfigurationError(f"{name} {port}: must be from 0 to 65535")
        if self.grace < timedelta(0):
            raise ConfigurationError("--grace: must not be negative")


async def run_temporal_worker(options: TemporalWorkerOptions, settings: Settings, modules: WorkflowModules) -> None:
    """Run the worker until a signal asks to stop.

    Args:
        options: the command line.
        settings: the environment.
        modules: the workflows and activities that it runs.

    Raises:
        ConfigurationError: a setting is wrong, or the schema is not what is declared.
        DependencyError: a server can't be reached within `DELEGATOR_START_TIMEOUT`.
    """
    registry = new_registry()
    connections = ConnectionMetrics(registry)
    database, temporal = ConnectionState("postgresql", connections), ConnectionState("temporal", connections)
    # Wrong settings are refused before the process waits for a server.
    temporal_settings()
    connection = _Connection(options, settings, modules, database, registry)
    liveness = Liveness()
    health = LocalHealth(registry, liveness, {"postgresql": database.problem, "temporal": temporal.problem})
    server: AbstractContextManager[object] = nullcontext()
    if options.port:
        server = HealthServer(health, host=options.host, port=options.port, tls=options.tls)
    with server:
        async with shutdown_signals() as shutdown, liveness.watch_event_loop(options.stall_limit):
            stop = shutdown.requested
            if not await wait_for(lambda: check(settings, process=ENQUEUER), settings.start_timeout, database, stop):
                return
            if not await wait_for(connection.open, settings.start_timeout, temporal, stop):
                return
            await _run(options, connection.client, modules, temporal, stop)


class _Connection:
    """A client that connects when the server answers."""

    def __init__(
        self,
        options: TemporalWorkerOptions,
        settings: Settings,
        modules: WorkflowModules,
        database: ConnectionState,
        registry: CollectorRegistry,
    ) -> None:
        self._converter = load_data_converter(settings.data_converter)
        self._plugin = DelegatorPlugin(
            modules.delegated,
            settings=settings,
            options=options.plugin,
            resources=modules.resources if modules.activities else (),
            registry=registry,
        )
        self._plugin.watch_database(database)
        self._runtime = runtime_with_metrics(options.host, options.sdk_port)
        self.client: Client

    async def open(self) -> None:
        """Connect, and check whether the namespace exists.

        Raises:
            TemporalError: the server does not answer, or refuses.
            ConfigurationError: it has no such namespace.
        """
        client = await connect_temporal(self._converter, lazy=False, runtime=self._runtime, plugins=[self._plugin])
        await check_namespace(client)
        self.client = client


async def _run(
    options: TemporalWorkerOptions,
    client: Client,
    modules: WorkflowModules,
    temporal: ConnectionState,
    stop: asyncio.Event,
) -> None:
    with ThreadPoolExecutor(options.max_activities, thread_name_prefix="activity") as threads:
        worker = Worker(
            client,
            task_queue=options.task_queue,
            workflows=modules.workflows,
            activities=modules.activities,
            activity_executor=threads,
            max_concurrent_activities=options.max_activities,
            max_concurrent_workflow_tasks=options.max_workflow_tasks,
            graceful_shutdown_timeout=options.grace,
        )
        running = asyncio.create_task(worker.run(), name="temporal-worker")
        others: list[asyncio.Task[Any]] = [
            asyncio.create_task(watch_temporal(client, temporal), name="health"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        try:
            _log.info(
                "worker_started",
                extra={
                    "task_queue": options.task_queue,
                    "workflows": len(modules.workflows),
                    "activities": len(modules.activities),
                    "delegated": len(modules.delegated),
                },
            )
            await asyncio.wait([running, *others], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                _log.info("worker_stopping")
                others.append(asyncio.create_task(worker.shutdown(), name="shutdown"))
            await running
        finally:
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
    _log.info("worker_stopped")
