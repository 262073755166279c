"""The Temporal plugin. It makes a client's workers able to delegate."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType
from typing import Any

from delegator_schema.roles import ENQUEUER
from prometheus_client import CollectorRegistry
from temporalio.client import ClientConfig, WorkflowHistory
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Replayer, Worker, WorkerConfig, WorkflowReplayResult

from delegator.completion.asynchronous import AsynchronousCompletion, OpenAttempts
from delegator.completion.queue_attempts import QueueAttempts
from delegator.config import Settings
from delegator.contracts import DYNAMIC_TYPE, DelegatedType, Source, collect_types, opened_resources
from delegator.contracts.collect import declarations_in, flattened, resources_in, types_used_by
from delegator.contracts.types import name_of
from delegator.enqueue.activities import DelegatorActivities, EnqueueParts
from delegator.enqueue.busyness import Busyness
from delegator.enqueue.declared_queues import (
    require_declared_queues,
    require_declared_task_queues,
    warn_of_undeclared_queues,
)
from delegator.enqueue.enqueuer import ENQUEUE_PATIENCE, GATHER, Enqueuer, enqueue_pool
from delegator.enqueue.inline import InlineWaiter
from delegator.enqueue.metrics import EnqueueMetrics
from delegator.enqueue.policy import InlinePolicy
from delegator.errors import ConfigurationError, DelegatorError
from delegator.postgres.connections import Connection, DatabaseAddress, Pool, connect
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.queue_table import QueueTable
from delegator.postgres.schema_check import check
from delegator.runtime.cancellation import cancellable_until
from delegator.runtime.connection_state import ConnectionState, Dependency
from delegator.runtime.search_attributes import check_search_attributes
from delegator.runtime.startup import wait_for
from delegator.runtime.temporal_client import check_namespace
from delegator.wire.frames import require_raw_values
from delegator.wire.probe import make_probe
from delegator.workflow.chains import OwnTraffic
from delegator.workflow.interceptor import DelegationInterceptor
from delegator.workflow.sandbox import delegating_runner

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PluginOptions:
    """How a worker delegates."""

    inline_wait: timedelta = timedelta(seconds=1)
    """How old a workflow task may get while it waits for its jobs; zero: it never waits. Signals, queries, timers and
    cancellation reach a workflow when its task is closed. Stay far below the workflow task timeout (10 s)."""
    inline_slots: int = 1_000
    """Largest number of local activities at a time. While half of them wait inline, no other one waits."""
    result_ttl: timedelta = timedelta(seconds=15)
    """How long a row that was read inline is kept, because the workflow task may run again. While tasks run again, as
    in an overload, rows are kept eight times as long. Set it above the workflow task timeout."""
    look_after: timedelta = timedelta(minutes=1)
    """After how long without an outcome a workflow asks whether the queue still has its jobs, in case a failover or a
    restore has lost them. It asks again after twice the time, at last once an hour. Zero: it never asks."""
    intercept: bool = False
    """Delegate unchanged `workflow.execute_activity` calls of the delegated types."""
    patch: bool = True
    """With `intercept`: runs that began before keep their ordinary activities. It costs one marker for each run."""
    task_queues: Mapping[str, str | None] = field(default_factory=dict)
    """With `intercept`: the queue of calls that name a task queue, by the task queue. None instead of a queue leaves
    them ordinary activities. Those of `DELEGATOR_TASK_QUEUES` count, too. A call that names another task queue, and not
    the workflow's own, is refused."""
    gather: timedelta = GATHER
    """How long a worker may gather jobs to enqueue them together; zero: never. It gathers while it is short of
    processor time, and while workflows wait for their first task. A start delay looks like such a wait."""
    connections: int = 4
    """Largest number of connections to PostgreSQL that a queue uses. Each further queue may open one more of its own,
    because a locked table keeps connections. One more listens, and one more renews the lease."""


class DelegatorPlugin(SimplePlugin):
    """Makes workers able to delegate: `Client.connect(..., plugins=[DelegatorPlugin(...)])`.

    It adds two local activities and the workflow interceptor. It lets its packages pass through the sandbox. While a
    worker runs, it holds the connections.

    A worker waits for PostgreSQL and for Temporal for up to `DELEGATOR_START_TIMEOUT` before it takes its first task.
    After that `worker.run()` and `async with worker` raise a DelegatorError that says what is wrong.
    """

    def __init__(
        self,
        delegated: Iterable[Source] = (),
        *,
        settings: Settings | None = None,
        options: PluginOptions | None = None,
        intercept: bool | None = None,
        resources: Iterable[Source] = (),
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Prepare the plugin; nothing is connected yet.

        Args:
            delegated: delegated functions, modules that hold them, what `existing_activities` returns, or lists of
                these. `intercept` needs it.
            settings: where the servers are; by default read from the environment.
            options: how to delegate.
            intercept: the same as `PluginOptions(intercept=...)`.
            resources: resources, or modules that hold them. The worker's own activities may use them.
            registry: takes the plugin's metrics, for example `prometheus_client.REGISTRY`. Give it to one plugin only.
                None: they are shown nowhere.

        Raises:
            ConfigurationError: a setting or a declaration is wrong.
        """
        options = options or PluginOptions()
        if intercept is not None:
            options = dataclasses.replace(options, intercept=intercept)
        self._options = options
        self._settings = settings or Settings.load()
        sources = flattened(delegated)
        for source in sources:
            if isinstance(source, ModuleType) and not declarations_in(source):
                raise ConfigurationError(
                    f"the module {source.__name__} declares no delegated activity type: decorate a function with "
                    "@delegated, or give existing_activities(...) for its activities as they are"
                )
        self._types = collect_types(sources)
        if options.intercept and not self._types:
            raise ConfigurationError(
                "intercept=True needs the delegated activity types whose calls to delegate: "
                "DelegatorPlugin([module, ...], intercept=True)"
            )
        self._used_types: dict[str, DelegatedType] = {}
        self._resources = resources_in(resources)
        self._metrics = EnqueueMetrics(registry or CollectorRegistry())
        self._database_state: ConnectionState | None = None
        self._headers_stay_encoded = False
        self._activities = DelegatorActivities()
        self._pools: list[Pool] = []
        self._busyness = Busyness(options.gather)
        self._replay_errors: dict[str, Exception] = {}
        super().__init__(
            "temporal-delegator",
            activities=[self._activities.enqueue, self._activities.cancel, self._activities.look],
        )

    def watch_database(self, state: ConnectionState) -> None:
        """Report the health of the connection to PostgreSQL. For a process with a health server.

        Args:
            state: gets the health while a worker runs.
        """
        self._database_state = state

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Add interceptors. One completes delegated jobs by `get_async_activity_handle`. See the base class."""
        config = super().configure_client(config)
        completion = AsynchronousCompletion(self._open_attempts())
        config["interceptors"] = [OwnTraffic(), *config.get("interceptors", ()), completion]
        return config

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add the activities, the interceptor and room for inline waiting; see the base class."""
        self._refuse_dynamic_beside(config.get("activities") or ())
        if not config.get("activities"):
            # The plugin's activities are local. The worker must not take activity tasks of other workers.
            config["no_remote_activities"] = True
        config = super().configure_worker(config)
        converter = config["client"].data_converter
        require_raw_values(converter)
        behavior = config["client"].config().get("header_codec_behavior")
        self._headers_stay_encoded = behavior is HeaderCodecBehavior.WORKFLOW_ONLY_CODEC
        self._used_types |= types_used_by(config.get("workflows", ()))
        config["interceptors"] = [OwnTraffic(), *config.get("interceptors", ()), self._interceptor(converter)]
        config["workflow_runner"] = delegating_runner(config.get("workflow_runner"), converter)
        if config.get("max_concurrent_local_activities") is None and config.get("tuner") is None:
            config["max_concurrent_local_activities"] = self._options.inline_slots
        return config

    def configure_replayer(self, config: Any) -> Any:
        """Add the interceptor; see the base class."""
        config = super().configure_replayer(config)
        converter = config.get("data_converter") or DataConverter.default
        require_raw_values(converter)
        interceptor = self._interceptor(converter, replay_differs=self._replay_errors.__setitem__)
        config["interceptors"] = [OwnTraffic(), *config.get("interceptors", ()), interceptor]
        config["workflow_runner"] = delegating_runner(config.get("workflow_runner"), converter)
        return config

    @asynccontextmanager
    async def run_replayer(
        self, replayer: Replayer, histories: AsyncIterator[WorkflowHistory], next: Callable[[Any, Any], Any]
    ) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
        """Report a workflow that asks for other jobs than its history as NondeterminismError; see the base class."""
        async with super().run_replayer(replayer, histories, next) as results:
            yield self._named(results)

    async def _named(self, results: AsyncIterator[WorkflowReplayResult]) -> AsyncIterator[WorkflowReplayResult]:
        async for result in results:
            error = self._replay_errors.pop(result.history.run_id, None)
            # The SDK knows only that the workflow task failed.
            yield result if error is None else dataclasses.replace(result, replay_failure=error)

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Any]) -> None:
        """Open the connections around the worker's run; see the base class.

        Raises:
            ConfigurationError: a queue is not declared, the schema is not what is declared, or Temporal has no such
                namespace.
            DependencyError: a server can't be reached within `DELEGATOR_START_TIMEOUT`.
        """
        over = asyncio.Event()

        async def run(worker: Worker) -> None:
            try:
                await next(worker)
            finally:
                over.set()

        # `async with Worker(...)` cancels the run when the SDK's part of it is over, even if plugins still close what
        # they opened. It would then cancel the task of the block, too.
        await cancellable_until(over, self._run_worker(worker, run))

    async def _run_worker(self, worker: Worker, next: Callable[[Worker], Any]) -> None:
        # The SDK gives this warning when it cancels a local activity that has just ended, for example after a stall. If
        # warnings are errors, it ends the SDK's activity worker. If the worker is already shutting down, its workflows
        # may still begin local activities. No task takes them then, and the shutdown never ends.
        warnings.filterwarnings("default", "Cannot find activity to cancel", UserWarning)
        # The SDK has no public way to ask whether a worker shuts down.
        stop = getattr(worker, "_shutdown_event", None)
        stop = stop if isinstance(stop, asyncio.Event) else asyncio.Event()
        async with AsyncExitStack() as stack:
            try:
                if await self._start(stack, worker, stop):
                    await stack.enter_async_context(opened_resources(self._resources))
            except DelegatorError as error:
                # Also logged, because the task that shuts the worker down does not get the error. A fixture with
                # `async with` does not get it either: the SDK gives it to the task that began the block, and that task
                # has ended.
                _log.error("worker_start_failed: %s", error)
                if not stop.is_set():
                    await _end(worker, next)
                    raise
            except BaseException:
                await _end(worker, next)
                raise
            await next(worker)

    def _refuse_dynamic_beside(self, activities: Sequence[Callable[..., Any]]) -> None:
        """Refuse ordinary activities beside a delegated dynamic one: a replay does not know which names are theirs."""
        if self._options.intercept and DYNAMIC_TYPE in self._types and activities:
            names = ", ".join(sorted(name_of(function) for function in activities))
            raise ConfigurationError(
                "a dynamic activity is delegated with intercept=True, so every activity type is; give the worker's own "
                f"activities ({names}) a worker and a task queue of their own"
            )

    def _open_attempts(self) -> OpenAttempts:
        return QueueAttempts(self._connection, self._settings.queues)

    @asynccontextmanager
    async def _connection(self, queue: str) -> AsyncIterator[Connection]:
        """Lend a connection: of a worker that runs, or a new one. A client that only completes jobs runs no worker."""
        if self._pools:
            async with self._pools[-1].share(queue).connection() as connection:
                yield connection
        else:
            address = DatabaseAddress.of(self._settings)
            async with await connect(address, application_name="delegator client") as connection:
                yield connection

    def _interceptor(self, converter: DataConverter, **listeners: Any) -> DelegationInterceptor:
        return DelegationInterceptor(
            self._types if self._options.intercept else {},
            converter,
            task_queues={**self._settings.task_queues, **self._options.task_queues},
            patch=self._options.patch,
            first_task_waited=self._busyness.workflow_waited,
            **listeners,
        )

    async def _start(self, stack: AsyncExitStack, worker: Worker, stop: asyncio.Event) -> bool:
        """Open the connections when the servers answer. Return False if the worker is shut down before that."""
        settings, client = self._settings, worker.client
        require_declared_queues(self._types.values(), settings)
        require_declared_task_queues({**settings.task_queues, **self._options.task_queues}, settings)
        warn_of_undeclared_queues(self._used_types.values(), settings)

        cluster: str | None = None

        async def look() -> None:
            nonlocal cluster
            cluster = await check_namespace(client)
            await check_search_attributes(client, are_set=settings.search_attributes)

        async def open_all() -> None:
            async with AsyncExitStack() as opened:
                await self._open(opened, client.data_converter, client.namespace, cluster)
                stack.push_async_exit(opened.pop_all())

        # The SDK's own check gives up at once, and names no setting.
        if not await wait_for(look, settings.start_timeout, _StartLog("temporal"), stop):
            return False
        return await wait_for(open_all, settings.start_timeout, self._database_state or _StartLog("postgresql"), stop)

    async def _open(self, stack: AsyncExitStack, converter: DataConverter, namespace: str, cluster: str | None) -> None:
        settings, options, metrics = self._settings, self._options, self._metrics
        await check(settings, process=ENQUEUER)
        address = DatabaseAddress.of(settings)
        tables = [QueueTable(queue, ordered=queue in settings.ordered_queues) for queue in settings.queues]
        pool = await stack.enter_async_context(
            enqueue_pool(address, size=options.connections, queues=len(tables), silence=settings.lease)
        )
        lease = await stack.enter_async_context(
            LeaseKeeper(
                address,
                "enqueuer",
                duration=settings.lease,
                state=self._database_state,
                cluster=cluster,
                on_lost=metrics.lease_lost,
            )
        )
        waiter = await stack.enter_async_context(
            InlineWaiter(pool, address, lease, result_ttl_seconds=options.result_ttl.total_seconds())
        )
        enqueuer = await stack.enter_async_context(
            Enqueuer(pool, tables, namespace, gather=self._busyness.pause, patience=ENQUEUE_PATIENCE, metrics=metrics)
        )
        policy = InlinePolicy(options.inline_wait.total_seconds(), options.inline_slots)
        parts = EnqueueParts(
            pool,
            enqueuer,
            waiter,
            policy,
            lease,
            converter,
            probe=await make_probe(converter.payload_codec),
            without_context=frozenset(
                name for name, known in (self._used_types | self._types).items() if not known.in_activity_context
            ),
            headers_stay_encoded=self._headers_stay_encoded,
            look_ms=round(options.look_after.total_seconds() * 1000),
            search_attributes=settings.search_attributes,
            metrics=metrics,
        )
        metrics.waiting.set_function(lambda: waiter.waiting)
        self._activities.start(parts)
        self._pools.append(pool)
        stack.callback(self._pools.remove, pool)
        stack.callback(self._activities.stop, parts)


class _StartLog:
    """Logs that a worker waits for a server. The reason is in the text, because the application formats these lines."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._waits = False

    def lost(self, reason: str) -> None:
        if not self._waits:
            _log.warning("worker_waits: %s", reason, extra={"dependency": self._dependency})
        self._waits = True

    def restored(self) -> None:
        if self._waits:
            _log.info("worker_waits_no_more", extra={"dependency": self._dependency})


async def _end(worker: Worker, next: Callable[[Worker], Any]) -> None:
    """Let the SDK's worker begin and end at once. It can't be shut down otherwise.

    `async with` calls the SDK's `shutdown` at its end. `shutdown` waits for the end of a run, and would never return if
    no run had begun.
    """
    shutdown = asyncio.create_task(worker.shutdown())
    try:
        with suppress(Exception):  # Temporal may not answer either; the error of PostgreSQL is reported
            await next(worker)
    finally:
        shutdown.cancel()
        with suppress(asyncio.CancelledError):
            await shutdown
