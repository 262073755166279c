"""Makes the workers of the SDK's tests delegate their activities, and nothing else."""

from __future__ import annotations

import asyncio
import os
import traceback
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, cast
from unittest import mock

import psycopg
from delegator_schema.queues import queue_table
from temporalio import activity, workflow
from temporalio.bridge.worker import Worker as BridgeWorker
from temporalio.client import Client
from temporalio.worker import Interceptor, Plugin, Replayer, Worker
from temporalio.worker._workflow import _WorkflowWorker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from delegator import DelegatorPlugin, PluginOptions, Settings, existing_activities
from delegator.completion.asynchronous import AsynchronousCompletion
from delegator.contracts import DelegatedType, collect_types
from delegator.contracts.types import TypesByName
from delegator.enqueue.activity_worker import activity_worker
from delegator.enqueue.enqueuer import Enqueuer
from delegator.postgres.connections import connection_pool
from delegator.postgres.queue_table import QueueTable
from delegator.workflow.interceptor import DelegationInterceptor
from http_workers import HttpWorker

from .results import Way

_is_ours: ContextVar[bool] = ContextVar("is_ours", default=False)
"""Set while the harness makes a worker of its own, which is left as it is."""


class Queues:
    """Gives each Temporal task queue of a test a queue of its own, as a declared table of task queues would."""

    def __init__(self, settings: Settings) -> None:
        """Take all queues of the settings.

        Args:
            settings: declares the queues.
        """
        self._settings = settings
        self._taken: dict[str, str] = {}

    def queue_of(self, task_queue: str) -> str:
        """Return the queue of a task queue; the same one during a whole test."""
        if task_queue not in self._taken:
            free = set(self._settings.queues) - set(self._taken.values())
            if not free:
                raise RuntimeError("a test needs more queues than there are: raise QUEUES in servers.py")
            self._taken[task_queue] = min(free)
        return self._taken[task_queue]

    def clear(self) -> None:
        """Remove the jobs that a test has left, so that the next test may use the queues."""
        if not self._taken:
            return
        with psycopg.connect(self._settings.database_url.get_secret_value(), autocommit=True) as connection:
            for queue in self._taken.values():
                connection.execute(f"DELETE FROM {queue_table(queue)}".encode())
        self._taken.clear()


class LiveTypes:
    """The delegated types of the running test: those of every worker that it has made so far."""

    def __init__(self, queues: Queues) -> None:
        """Start empty.

        Args:
            queues: gives task queues their queues.
        """
        self._queues = queues
        self._types: dict[str, TypesByName] = {}

    def add(self, task_queue: str, types: Mapping[str, DelegatedType]) -> None:
        """Add the types of a worker of a task queue."""
        self._types.setdefault(task_queue, TypesByName()).update(types)

    def clear(self) -> None:
        """Forget the types of a test."""
        self._types.clear()

    def seen_from(self, task_queue: str) -> Mapping[str, DelegatedType]:
        """Return the types for the workflows of a task queue. They may call those of workers that are made later."""
        return _LiveView(self._types, task_queue)

    def task_queues(self) -> Mapping[str, str | None]:
        """Return the declared table of task queues."""
        return _LiveTaskQueues(self._types, self._queues)


class _LiveView(Mapping[str, DelegatedType]):
    def __init__(self, types: Mapping[str, TypesByName], task_queue: str) -> None:
        self._types = types
        self._task_queue = task_queue

    def get(self, name: str, default: Any = None) -> Any:
        """Return a type of the task queue. A call that names another task queue may have a type of any."""
        own = self._types.get(self._task_queue, TypesByName())
        return next((found for types in (own, *self._types.values()) if (found := types.get(name))), default)

    def __getitem__(self, name: str) -> DelegatedType:
        found: DelegatedType | None = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter({name: None for types in self._types.values() for name in types})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """True also while there is none, because a type may be added later."""
        return True


class _LiveTaskQueues(Mapping[str, str | None]):
    def __init__(self, types: Mapping[str, TypesByName], queues: Queues) -> None:
        self._types = types
        self._queues = queues

    def __getitem__(self, task_queue: str) -> str | None:
        # The worker of the task queue may be made later. A replay must find the same queue.
        return self._queues.queue_of(task_queue)

    def __contains__(self, task_queue: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


class Delegation:
    """What the workers of the running test share."""

    def __init__(self, way: Way) -> None:
        """Read the settings of the environment.

        Args:
            way: how the activities are delegated.
        """
        self.way = way
        self.settings = Settings.load()
        self.queues = Queues(self.settings)
        self.types = LiveTypes(self.queues)
        self.create_bridge = BridgeWorker.create
        """The SDK's own function."""
        self.jobs = 0
        """Jobs that the running test has enqueued."""
        self.pools = 0
        """Http-workers that run."""

    def begin_test(self) -> None:
        """Forget what the test before has delegated, and the processes of other files: their Temporal was another."""
        self.jobs = 0
        with psycopg.connect(self.settings.database_url.get_secret_value(), autocommit=True) as connection:
            connection.execute("DELETE FROM custom_task_lease WHERE holder NOT LIKE %s", (f"{os.getpid()}@%",))

    async def pools_ended(self) -> None:
        """Wait until no http-worker runs, or for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self.pools:
                    await asyncio.sleep(0.01)

    def end_test(self) -> None:
        """Free the queues."""
        self.types.clear()
        self.queues.clear()

    def plugins(
        self, task_queue: str, workflows: Sequence[type], activities: Sequence[Callable[..., Any]]
    ) -> list[Plugin]:
        """Return the plugins that make a worker of a test delegate.

        Args:
            task_queue: the worker's task queue.
            workflows: its workflows.
            activities: its activities.
        """
        if self.way is Way.ACTIVITY_WORKER:
            return [_TaskDelegation(self, activities)] if activities else []
        plugins: list[Plugin] = [_Pool(self, activities)] if activities else []
        if workflows:
            plugins.append(self.interceptor_plugin(task_queue))
        return plugins

    def interceptor_plugin(self, task_queue: str) -> DelegatorPlugin:
        """Return the plugin of a worker whose workflows delegate, or of a replayer of their histories.

        Args:
            task_queue: the task queue of the workflows.
        """
        return _LivePlugin(self, task_queue)


@activity.defn
async def _never_called() -> None:
    """A plugin that intercepts must be given an activity."""


class _LivePlugin(DelegatorPlugin):
    """A plugin that learns of types and task queues while the test makes workers."""

    def __init__(self, delegation: Delegation, task_queue: str) -> None:
        super().__init__(
            existing_activities(_never_called, queue=delegation.settings.queues[0]),
            settings=delegation.settings,
            options=PluginOptions(intercept=True, patch=False, connections=2),
        )
        # The public arguments take the types and the task queues of one moment.
        self._live_types = delegation.types.seen_from(task_queue)
        self._live_task_queues = delegation.types.task_queues()

    def _interceptor(self, *arguments: Any, **options: Any) -> DelegationInterceptor:
        interceptor = super()._interceptor(*arguments, **options)
        interceptor._intercepted = self._live_types
        interceptor._task_queues = self._live_task_queues
        return interceptor


class _WorkerPlugin(Plugin):
    """A worker plugin that changes nothing."""

    def configure_worker(self, config: Any) -> Any:
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        await next(worker)

    def configure_replayer(self, config: Any) -> Any:
        return config

    def run_replayer(self, replayer: Any, histories: Any, next: Any) -> Any:
        return next(replayer, histories)


class _Pool(_WorkerPlugin):
    """Runs an http-worker beside a worker, with the activities of the worker."""

    # A pool in a process of its own would not be waited for, either.
    _is_waited_for = False

    def __init__(self, delegation: Delegation, activities: Sequence[Callable[..., Any]]) -> None:
        self._delegation = delegation
        self._activities = list(activities)
        self._process = os.getpid()

    def configure_worker(self, config: Any) -> Any:
        self._config = dict(config)
        return config

    def prepare(self, worker: Worker) -> None:
        """Make the http-worker. What it refuses is an error of the test's `Worker(...)`, if the SDK refuses nothing."""
        client, config = worker.client, self._config
        self._queue = self._delegation.queues.queue_of(worker.task_queue)
        self._declared = existing_activities(self._activities, queue=self._queue)
        self._delegation.types.add(worker.task_queue, collect_types(self._declared))
        of_client = [one for one in _active_config(client)["interceptors"] if isinstance(one, Interceptor)]
        self.http_worker = HttpWorker(
            self._declared,
            queue=self._queue,
            concurrency=config.get("max_concurrent_activities") or 100,
            settings=self._delegation.settings,
            grace=config.get("graceful_shutdown_timeout") or timedelta(0),
            activity_executor=config.get("activity_executor"),
            interceptors=[*of_client, *config.get("interceptors", ())],
            client=client,
        )

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        if os.getpid() != self._process:  # a test of forked processes
            await next(worker)
            return
        # In a task of its own: `async with Worker(...)` cancels the run while its plugins end.
        stop, opened = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(self._serve(worker, opened, stop))
        self._delegation.pools += 1
        serving.add_done_callback(self._ended)
        try:
            if self._is_waited_for:
                waiting = asyncio.create_task(opened.wait())
                await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            await next(worker)
        finally:
            stop.set()

    def _ended(self, serving: asyncio.Task[None]) -> None:
        self._delegation.pools -= 1
        if not serving.cancelled() and (error := serving.exception()) is not None:
            traceback.print_exception(error)

    async def _serve(self, worker: Worker, opened: asyncio.Event, stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            await self._open(stack, worker)
            opened.set()
            await stop.wait()

    async def _open(self, stack: AsyncExitStack, worker: Worker) -> None:
        await stack.enter_async_context(self.http_worker)
        # Temporal's worker stops its activities when its shutdown begins, and not when its workflows have ended.
        stopping = asyncio.create_task(_stop_with(worker, self.http_worker))
        stack.push_async_callback(_cancel, stopping)


class _TaskDelegation(_Pool):
    """Lets the delegator's activity worker take the activity tasks of a worker's task queue."""

    # Tests expect that activities begin as soon as workflows can call them.
    _is_waited_for = True

    def configure_worker(self, config: Any) -> Any:
        config = super().configure_worker(config)
        # Local activities stay with the worker, and its activity tasks go to the activity worker.
        config["no_remote_activities"] = True
        if not config.get("workflows") and not config.get("nexus_service_handlers"):
            config["workflows"] = [_NoWorkflow]
        return config

    def prepare(self, worker: Worker) -> None:
        """See the base class."""
        super().prepare(worker)
        worker._config["workflows"] = self._config.get("workflows", [])

    async def _open(self, stack: AsyncExitStack, worker: Worker) -> None:
        await super()._open(stack, worker)
        settings = self._delegation.settings
        url = settings.database_url.get_secret_value()
        pool = await stack.enter_async_context(connection_pool(url, application_name="conformance", size=2))
        tables = [QueueTable(queue) for queue in settings.queues]
        enqueuer = await stack.enter_async_context(Enqueuer(pool, tables, worker.client.namespace))
        token = _is_ours.set(True)
        try:
            # `delegator serve` has no interceptors of the user, either.
            client = Client(
                worker.client.service_client,
                namespace=worker.client.namespace,
                data_converter=worker.client.data_converter,
                **{
                    key: value for key, value in _active_config(worker.client).items() if key == "header_codec_behavior"
                },
            )
            types = collect_types(self._declared).values()
            # Not for a test that counts the workers which it makes.
            with mock.patch.object(BridgeWorker, "create", self._delegation.create_bridge):
                tasks = activity_worker(client, worker.task_queue, types, enqueuer)
        finally:
            _is_ours.reset(token)
        await stack.enter_async_context(tasks)


@workflow.defn(sandboxed=False)
class _NoWorkflow:
    """A worker without remote activities must have a workflow."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""


def install(delegation: Delegation) -> None:
    """Make every worker and replayer delegate that is made from here on.

    Args:
        delegation: what they share.
    """
    make_worker, make_replayer, enqueue = Worker.__init__, Replayer.__init__, Enqueuer.enqueue
    make_client, client_of_worker = Client.__init__, cast("property", Worker.__dict__["client"])
    pools: weakref.WeakKeyDictionary[Worker, list[_Pool]] = weakref.WeakKeyDictionary()

    def client(self: Client, *arguments: Any, **options: Any) -> None:
        # What `Client.connect(..., plugins=[DelegatorPlugin()])` does. The workers get plugins of their own.
        if not _is_ours.get() and not any(
            isinstance(one, AsynchronousCompletion) for one in options.get("interceptors", ())
        ):
            config: Any = dict(options)
            options = dict(DelegatorPlugin(settings=delegation.settings).configure_client(config))
        make_client(self, *arguments, **options)

    def worker(self: Worker, client: Client, **options: Any) -> None:
        activities = options.get("activities", ())
        added: list[Plugin] = []
        if not _is_ours.get() and all(_is_activity(one) for one in activities):
            added = delegation.plugins(options["task_queue"], options.get("workflows", ()), activities)
            options["plugins"] = [*options.get("plugins", ()), *added]
        make_worker(self, client, **options)
        pools[self] = [plugin for plugin in added if isinstance(plugin, _Pool)]
        for pool in pools[self]:
            pool.prepare(self)

    def set_client(self: Worker, client: Client) -> None:
        client_of_worker.__set__(self, client)
        for pool in pools[self]:
            pool.http_worker.client = client

    def replayer(self: Replayer, **options: Any) -> None:
        if delegation.way is Way.INTERCEPTOR:
            options["plugins"] = [*options.get("plugins", ()), delegation.interceptor_plugin("")]
        make_replayer(self, **options)

    async def counted(self: Enqueuer, queue: str, jobs: Any, *arguments: Any, **options: Any) -> Any:
        delegation.jobs += len(jobs)
        return await enqueue(self, queue, jobs, *arguments, **options)

    Client.__init__ = client  # type: ignore[method-assign]
    Worker.client = property(client_of_worker.__get__, set_client)  # type: ignore[assignment]
    Worker.__init__ = worker  # type: ignore[method-assign]
    Replayer.__init__ = replayer  # type: ignore[method-assign]
    Enqueuer.enqueue = counted  # type: ignore[method-assign]


def _active_config(client: Client) -> dict[str, Any]:
    """Return what a client uses, with what its plugins have added."""
    return dict(cast("Any", client)._config)


def be_patient() -> None:
    """Let a workflow task compute for 20 seconds.

    The SDK interrupts one after two seconds of wall-clock time, and on a busy machine a workflow's first task, which
    imports the test's module, takes that long. A worker whose workflow was interrupted within an import never ends.
    """
    make = _WorkflowWorker.__init__

    def patient(self: _WorkflowWorker, **options: Any) -> None:
        make(self, **options)
        if self._deadlock_timeout_seconds is not None:
            self._deadlock_timeout_seconds = 20

    _WorkflowWorker.__init__ = patient  # type: ignore[method-assign]


def share_modules() -> None:
    """Import the tests' modules once, and not once for each worker, which takes most of the time of a quick test.

    Workflow code then shares the globals of the test, which a few tests forbid.
    """
    # Not a new object: the SDK's default arguments hold this one.
    SandboxRestrictions.default.passthrough_modules.add("tests")


def _is_activity(function: Callable[..., Any]) -> bool:
    """Return whether a worker would take it. If not, the test is about the worker's error."""
    if isinstance(function, type):
        return False
    try:
        return bool(activity._Definition.must_from_callable(function))
    except (TypeError, ValueError):
        return False


async def _stop_with(worker: Worker, pool: HttpWorker) -> None:
    await worker._shutdown_event.wait()
    await pool.shutdown()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
