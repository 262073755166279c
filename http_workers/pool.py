"""The pool of one worker process: starts and stops its parts in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from delegator_schema.roles import WORKER
from prometheus_client import CollectorRegistry
from temporalio.worker import Interceptor

from delegator.completion.signals import SignalSender
from delegator.config import Settings
from delegator.contracts import Declared, Handler, opened_resources
from delegator.operating.canary_type import CANARY, CANARY_HANDLER
from delegator.postgres.connections import DatabaseAddress, connection_pool
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.lease_keeper import LeaseKeeper, holder_name
from delegator.postgres.queue_table import QueueTable
from delegator.postgres.schema_check import check
from delegator.runtime.build_info import show_build
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState, Dependency, SharedConnection
from delegator.runtime.health import LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.startup import wait_for
from delegator.runtime.temporal_client import load_data_converter, refuse_wrong_namespace, watch_temporal
from delegator.wire.contexts import codec_of
from http_workers.acks import Acknowledger
from http_workers.activity_tasks import ActivityTasks
from http_workers.attempt import AttemptRunner
from http_workers.background import background
from http_workers.clients import ClientHolder
from http_workers.finisher import Finisher
from http_workers.job import Job
from http_workers.job_pool import JobPool
from http_workers.lease_report import LeaseReport
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.monitor import Monitor
from http_workers.options import ClaimMode, WorkerOptions
from http_workers.prompts import Prompts
from http_workers.receiver_parts import ReceiverParts
from http_workers.receivers import job_loops
from http_workers.slots import Slots
from http_workers.source import StreamSource, StreamTimeouts
from http_workers.start_checks import refuse_unordered, refuse_wrong_stream
from http_workers.threads import handler_threads
from http_workers.winding_down import wind_down

_log = logging.getLogger(__name__)
_CONNECTIONS = 6
_PATIENCE = timedelta(seconds=30)
_LONGEST_ROUND = timedelta(seconds=40)
_LONGEST_WAIT = timedelta(seconds=10)
SERVERS: Final[tuple[Dependency, ...]] = ("stream", "postgresql", "temporal")
"""What a worker at the database needs."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker reports to its process: metrics, health, liveness."""

    registry: CollectorRegistry
    """The metrics."""
    metrics: WorkerMetrics
    """This worker's series."""
    states: Mapping[str, ConnectionState]
    """The health of its connections, by server."""
    liveness: Liveness
    """The loops that must make progress."""

    @classmethod
    def create(
        cls, registry: CollectorRegistry, concurrency: int, servers: Sequence[Dependency] = SERVERS
    ) -> Surroundings:
        """Begin with nothing connected.

        Args:
            registry: takes the metrics.
            concurrency: the worker's slots.
            servers: what the worker needs.
        """
        metrics = WorkerMetrics(registry)
        metrics.slots.set(concurrency)
        show_build(registry)
        connections = ConnectionMetrics(registry)
        states: dict[str, ConnectionState] = {name: ConnectionState(name, connections) for name in servers}
        return cls(registry, metrics, states, Liveness())

    @property
    def health(self) -> LocalHealth:
        """The worker's health."""
        return LocalHealth(self.registry, self.liveness, {name: state.problem for name, state in self.states.items()})


async def serve(
    options: WorkerOptions,
    settings: Settings,
    declared: Declared,
    surroundings: Surroundings,
    stop: asyncio.Event,
    started: Callable[[], None],
    *,
    executor: Executor | None = None,
    interceptors: Sequence[Interceptor] = (),
    clients: ClientHolder | None = None,
) -> None:
    """Run jobs until asked to stop.

    Args:
        options: how to run them.
        settings: where the servers are.
        declared: the handlers and their resources.
        surroundings: gets the state of the worker.
        stop: asks for a graceful stop when it is set.
        started: called when everything is connected and open. It is not called if the worker must stop before that.
        executor: the threads of plain functions, and left open; None: the worker has threads of its own.
        interceptors: the user's activity interceptors.
        clients: hold Temporal's client. If they hold none, or are None, the settings describe it.

    Raises:
        ConfigurationError: a setting is wrong, or the schema is not what is declared.
        DependencyError: a server can't be reached at the start, or a resource can't be opened.
    """
    handlers, metrics, states, liveness = (
        declared.handlers,
        surroundings.metrics,
        surroundings.states,
        surroundings.liveness,
    )
    clients = clients or ClientHolder(None)
    converter = clients.client.data_converter if clients.client else load_data_converter(settings.data_converter)
    identity = f"http-worker {holder_name()}"
    refuse_unordered(options, settings, handlers)
    table = QueueTable(options.queue, ordered=options.queue in settings.ordered_queues)
    slots = Slots(options.concurrency)
    async with AsyncExitStack() as stack:
        client = await clients.connected(converter, identity)
        if executor is None:
            executor = stack.enter_context(handler_threads(options.threads or options.concurrency))
        prompts = Prompts()
        runner = AttemptRunner(
            {CANARY: CANARY_HANDLER, **handlers},
            converter,
            options.queue,
            metrics,
            executor,
            client,
            interceptors,
            on_task_heartbeat=prompts.heartbeat,
            on_client=prompts.asked_for_client,
        )
        jobs = JobPool(runner, TypeLimits(handlers, options.concurrency // 4), slots, metrics)
        wait = min(_LONGEST_WAIT, settings.lease * 2 / 3)
        source = await stack.enter_async_context(
            StreamSource(
                url=settings.stream_url,
                queue=options.queue,
                token=settings.stream_token,
                ca_file=settings.stream_ca_file,
                timeouts=StreamTimeouts(margin=min(StreamTimeouts().margin, settings.lease / 3)),
            )
        )
        if not await wait_for(
            lambda: check(settings, queues=[options.queue], process=WORKER),
            settings.start_timeout,
            states["postgresql"],
            stop,
        ):
            return
        await refuse_wrong_stream(source, states["stream"])
        cluster = await refuse_wrong_namespace(client, states["temporal"])
        database = SharedConnection(states["postgresql"])

        def watched_as(loop: str) -> DatabaseWatch:
            return DatabaseWatch(database.part(loop), lambda: check(settings, queues=[options.queue], process=WORKER))

        address = DatabaseAddress.of(settings)
        pool = await stack.enter_async_context(
            connection_pool(
                address, application_name="http-worker", size=_CONNECTIONS, silence=settings.lease, by_key=True
            )
        )
        lease = await stack.enter_async_context(
            LeaseKeeper(
                address,
                "worker",
                duration=settings.lease,
                queue=options.queue,
                job_types=sorted(handlers),
                state=database.part("lease"),
                on_lost=jobs.lease_lost,
                stall=options.stall_limit,
                cluster=cluster,
                report=LeaseReport(options.concurrency, lambda: jobs.running, metrics),
            )
        )
        await stack.enter_async_context(opened_resources(declared.resources))
        signals = SignalSender(client, identity=identity, state=states["temporal"], patience=_PATIENCE)
        stack.push_async_callback(signals.close)
        activity_tasks = ActivityTasks(client, identity=identity, state=states["temporal"], patience=_PATIENCE)
        clients.add_users(runner.use_client, signals.use_client, activity_tasks.use_client)
        finisher = Finisher(
            pool=pool,
            table=table,
            signals=signals,
            activity_tasks=activity_tasks,
            codec=codec_of(converter),
            identity=identity,
            metrics=metrics,
            database=watched_as("finisher"),
            on_finished=jobs.finished,
            refusal_grace=settings.refusal_grace,
            log_messages=settings.log_messages,
        )
        acks = Acknowledger(source, states["stream"])
        parts = ReceiverParts(
            source=source,
            acknowledge=acks.add,
            pool=pool,
            lease=lease,
            slots=slots,
            metrics=metrics,
            stream_state=states["stream"],
            database=watched_as("claims"),
            wait=wait,
            held=jobs.held,
            start=lambda job: jobs.start(job, finisher),
            give_up=finisher.give_up,
        )
        loops, jobs.on_finished = job_loops(parts, table, options, handlers)
        monitor = Monitor(
            pool=pool,
            table=table,
            activity_tasks=activity_tasks,
            database=watched_as("monitor"),
            running=jobs.running,
            claims=options.claim is ClaimMode.LEASE,
            report=lambda job: jobs.report(job, finisher),
        )
        async with background(
            finisher.run(),
            finisher.offer_refused(sorted(handlers)),
            monitor.run(),
            prompts.run(pool, table, activity_tasks),
            acks.run(),
            watch_temporal(client, states["temporal"]),
        ):
            with ExitStack() as watched:
                limit = max(options.stall_limit, _LONGEST_ROUND)
                running = [loop(watched.enter_context(liveness.watch(name, limit))) for name, loop in loops.items()]
                async with background(*running):
                    _log.info(
                        "worker_started",
                        extra={"queue": options.queue, "types": ",".join(types_served(handlers, options.queue))},
                    )
                    started()
                    await stop.wait()
                    runner.shut_down()
                    _log.info("worker_stopping", extra={"running": len(jobs.running)})
            await wind_down(jobs.running, options.grace, partial(_finish, finisher, lease))
            await acks.flush()
        _log.info("worker_stopped")


async def _finish(finisher: Finisher, lease: LeaseKeeper, rest: Sequence[Job]) -> None:
    await finisher.release(rest, lease.lease_id)
    await finisher.flush()


def types_served(handlers: Mapping[str, Handler], queue: str) -> list[str]:
    """Return the names of the types whose jobs are in a queue. The other handlers wait for no job here."""
    return sorted(name for name, handler in handlers.items() if handler.type.queue == queue)
