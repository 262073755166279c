"""`delegator serve`: the maintenance process. Any number may run; one of them, the leader, sweeps."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta

from delegator_schema.queues import queue_slot
from delegator_schema.roles import MAINTENANCE
from temporalio.client import Client

from delegator.completion.namespaces import Namespaces
from delegator.completion.signals import SignalSender
from delegator.completion.task_outcomes import TaskOutcomes
from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.enqueue.activity_worker import activity_worker
from delegator.enqueue.busyness import Busyness
from delegator.enqueue.declared_queues import require_declared_queues
from delegator.enqueue.enqueuer import GATHER, Enqueuer
from delegator.enqueue.metrics import EnqueueMetrics
from delegator.errors import first_line
from delegator.maintenance.elector import Elector
from delegator.maintenance.metrics import MaintenanceMetrics, OutboxMetrics
from delegator.maintenance.outbox import OutboxDispatcher, outbox_options
from delegator.maintenance.run_watch import RunWatch
from delegator.maintenance.signaller import Signaller
from delegator.maintenance.slot_watch import SlotWatch
from delegator.maintenance.sweeper import LOCK_LIMIT, Sweeper, SweeperOptions
from delegator.postgres import leader_lock
from delegator.postgres.connections import DatabaseAddress, Pool, connect, connection_pool
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.lease_keeper import LeaseKeeper, holder_name
from delegator.postgres.queue_table import QueueTable
from delegator.postgres.schema_check import check
from delegator.runtime.backoff import Backoff
from delegator.runtime.build_info import new_registry
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionPart, ConnectionState, SharedConnection
from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.shutdown import shutdown_signals
from delegator.runtime.startup import wait_for
from delegator.runtime.temporal_client import (
    check_namespace,
    connect_temporal,
    load_data_converter,
    refuse_wrong_namespace,
    watch_temporal,
)

_log = logging.getLogger(__name__)
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The command line of `delegator serve`."""

    host: str = "127.0.0.1"
    """Address of the health and metrics server."""
    port: int = 0
    """Its TCP port; 0: none."""
    tls: TlsFiles | None = None
    """Its certificate; None: it serves plain HTTP."""
    sweep: SweeperOptions = field(default_factory=SweeperOptions)
    """How often the sweeper runs."""
    types: tuple[DelegatedType, ...] = ()
    """Delegated activity types whose activity tasks are taken from Temporal."""
    task_queue: str | None = None
    """The Temporal task queue of these tasks; None: none are taken."""
    stall_limit: timedelta = timedelta(seconds=30)
    """How long the event loop may be blocked before `/livez` says so."""


async def serve(options: ServeOptions, settings: Settings) -> None:
    """Run a maintenance process until it is asked to stop.

    Args:
        options: the command line.
        settings: the environment.

    Raises:
        ConfigurationError: a setting is wrong, or the schema is not what is declared.
        DependencyError: PostgreSQL can't be reached at the start; with a task queue, Temporal can't.
    """
    registry = new_registry()
    metrics = MaintenanceMetrics(registry, settings.queues)
    connections = ConnectionMetrics(registry)
    database, temporal = ConnectionState("postgresql", connections), ConnectionState("temporal", connections)
    liveness = Liveness()
    server: AbstractContextManager[object] = nullcontext()
    if options.port:
        health = LocalHealth(registry, liveness, {"postgresql": database.problem, "temporal": temporal.problem})
        server = HealthServer(health, host=options.host, port=options.port, tls=options.tls)
    converter = load_data_converter(settings.data_converter)
    with server:
        async with AsyncExitStack() as stack:
            shutdown = await stack.enter_async_context(shutdown_signals())
            await stack.enter_async_context(liveness.watch_event_loop(options.stall_limit))
            identity = f"delegator-maintenance {holder_name()}"
            require_declared_queues(options.types, settings)
            client = await connect_temporal(converter, identity=identity)
            if not await wait_for(
                lambda: check(settings, process=MAINTENANCE), settings.start_timeout, database, shutdown.requested
            ):
                return
            cluster = await refuse_wrong_namespace(client, temporal)
            if options.task_queue is not None:
                limit = settings.start_timeout
                if not await wait_for(lambda: check_namespace(client), limit, temporal, shutdown.requested):
                    return
                # A worker does not take a lazy client.
                client = await connect_temporal(converter, identity=identity, lazy=False)
            signals = SignalSender(client, identity=identity, state=temporal)
            stack.push_async_callback(signals.close)
            address = DatabaseAddress.of(settings)
            await _require_session(address)
            await stack.enter_async_context(
                LeaseKeeper(address, "maintenance", duration=settings.lease, cluster=cluster)
            )
            pool = await stack.enter_async_context(
                connection_pool(
                    address,
                    application_name="delegator serve",
                    size=_CONNECTIONS,
                    queues=len(settings.queues),
                    silence=settings.lease,
                    lock_limit=LOCK_LIMIT,
                )
            )
            shared = SharedConnection(database)

            def watched_as(loop: str) -> DatabaseWatch:
                return DatabaseWatch(shared.part(loop), lambda: check(settings, process=MAINTENANCE))

            leading = watched_as("sweeper")
            tasks = TaskOutcomes(client, Namespaces(temporal), identity=identity)
            signallers = [
                Signaller(
                    queue,
                    pool=pool,
                    database=watched_as(f"signaller {queue}"),
                    signals=signals,
                    tasks=tasks,
                    converter=converter,
                    metrics=metrics,
                    interval=options.sweep.full_interval,
                )
                for queue in settings.queues
            ]
            run_watch = (
                None
                if settings.jobs_outlive_runs
                else RunWatch(
                    settings.queues,
                    pool=pool,
                    database=watched_as("run watch"),
                    client=client,
                    metrics=metrics,
                )
            )
            outbox_pool = await stack.enter_async_context(
                connection_pool(address, application_name="delegator outbox", size=3, silence=settings.lease)
            )
            sweeper = Sweeper(
                settings.queues,
                ordered=settings.ordered_queues,
                signallers=signallers,
                run_watch=run_watch,
                outbox=OutboxDispatcher(
                    address=address,
                    pool=outbox_pool,
                    database=watched_as("outbox"),
                    listener=watched_as("outbox listener"),
                    client=client,
                    temporal=temporal,
                    identity=identity,
                    metrics=OutboxMetrics(registry),
                    options=outbox_options(settings),
                ),
                slots=SlotWatch({queue: queue_slot(queue, settings.slot) for queue in settings.queues}, metrics),
                database=leading,
                converter=converter,
                identity=identity,
                metrics=metrics,
                options=options.sweep,
            )

            elector = Elector(address, metrics.leader.set, leading, silence=settings.lease)
            _log.info("maintenance_started", extra={"queues": ",".join(settings.queues)})
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(elector.run(sweeper.run), name="elector"),
                    group.create_task(watch_temporal(client, temporal), name="health"),
                ]
                if options.task_queue is not None:
                    part = shared.part("activity worker")
                    delegation = _delegate_tasks(
                        options.task_queue, options, settings, pool, client, part, EnqueueMetrics(registry)
                    )
                    running.append(group.create_task(delegation, name="activity-worker"))
                await shutdown.requested.wait()
                for task in running:
                    task.cancel()
            _log.info("maintenance_stopped")


async def _require_session(address: DatabaseAddress) -> None:
    """Check that the connection of the leader's lock has a session of its own.

    Raises:
        ConfigurationError: a pooler shares it with others.
    """
    name = leader_lock.APPLICATION_NAME
    await (await connect(address, application_name=name, session_for=leader_lock.SESSION_FOR)).close()


async def _delegate_tasks(
    task_queue: str,
    options: ServeOptions,
    settings: Settings,
    pool: Pool,
    client: Client,
    state: ConnectionPart,
    metrics: EnqueueMetrics,
) -> None:
    """Run the Temporal worker that delegates activity tasks, until cancelled."""
    tables = [QueueTable(queue, ordered=queue in settings.ordered_queues) for queue in settings.queues]
    gather = Busyness(GATHER).pause
    async with Enqueuer(pool, tables, client.namespace, state, gather, metrics=metrics) as enqueuer:
        backoff = Backoff()
        while True:
            worker = activity_worker(client, task_queue, options.types, enqueuer)
            _log.info("activity_worker_started", extra={"task_queue": task_queue, "types": len(options.types)})
            try:
                await worker.run()
            except Exception as error:  # Temporal refused a poll for good: for one, the namespace was deleted
                _log.error(
                    "activity_worker_failed",
                    extra={"task_queue": task_queue, "reason": first_line(error), "then": "start again"},
                )
            await backoff.sleep()
