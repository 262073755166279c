"""The worker as an object: it runs in the caller's event loop, as Temporal's `Worker` does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from delegator_schema.queues import DEFAULT_QUEUE
from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.worker import Interceptor

from delegator.config import Settings
from delegator.contracts import Source, collect
from delegator.errors import ConfigurationError
from delegator.runtime.connection_state import Dependency
from delegator.runtime.exception_groups import expected_error
from delegator.runtime.health import Health
from http_workers.clients import ClientHolder
from http_workers.interception import checked_interceptors
from http_workers.options import ClaimMode, WorkerOptions
from http_workers.pool import SERVERS, Surroundings, serve
from http_workers.threads import size_of
from http_workers.via.pool import serve as serve_via

_GRACE: Final = timedelta(seconds=30)
_STALL_LIMIT: Final = timedelta(seconds=30)


class HttpWorker:
    """Runs the delegated jobs of a queue.

        async with HttpWorker([tasks, Emails(smtp).send]):
            ...

    or `await HttpWorker([tasks]).run()`. It handles no signals, configures no logging and opens no port. The program
    `http-worker` does that. An object runs once.
    """

    def __init__(
        self,
        handlers: Iterable[Source],
        *,
        queue: str = DEFAULT_QUEUE,
        concurrency: int = 200,
        threads: int | None = None,
        activity_executor: Executor | None = None,
        interceptors: Sequence[Interceptor] = (),
        client: Client | None = None,
        runtime: Runtime | None = None,
        settings: Settings | None = None,
        grace: timedelta = _GRACE,
        claim: ClaimMode = ClaimMode.LEASE,
        via: str | None = None,
        stall_limit: timedelta = _STALL_LIMIT,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Prepare the worker; nothing is connected yet.

        Args:
            handlers: modules, declared functions, methods of objects, objects with declared methods, resources, what
                `existing_activities` returns, and lists of these.
            queue: the queue to serve; one of `Settings.queues`.
            concurrency: most jobs run at once.
            threads: most plain functions run at once, each in a thread of its own; None: as many as `concurrency`. The
                clock of an attempt starts when it has its thread.
            interceptors: activity interceptors, as of Temporal's `Worker`. The first one is the outermost. With them
                every handler runs as an activity.
            activity_executor: the threads, as of Temporal's `Worker`; it is left open. Only a `ThreadPoolExecutor`.
            client: Temporal's client. Its data converter is used, and `activity.client()` returns it. None: one that
                Temporal's settings and `DELEGATOR_DATA_CONVERTER` describe.
            runtime: the SDK's runtime of that client, for the meter of `activity.metric_meter()`; None: the default.
            settings: where PostgreSQL and the stream are; by default read from the environment.
            grace: how long running jobs may go on after a request to stop.
            claim: whether jobs are claimed.
            via: base URL of the gateway that gives the jobs; None: they come from the stream and the database.
            stall_limit: how long a loop may make no progress before `health` says so.
            registry: takes the worker's metrics; by default one of its own.

        Raises:
            ConfigurationError: a value is wrong, or no handler is for the queue.
        """
        self._settings = settings or Settings.load()
        if activity_executor is not None:
            threads = size_of(activity_executor, threads)
        self._executor = activity_executor
        self._clients = ClientHolder(client, runtime)
        self._interceptors = checked_interceptors(interceptors)
        self._options = WorkerOptions(
            queue=queue,
            concurrency=concurrency,
            threads=threads,
            grace=grace,
            claim=claim,
            via=via,
            stall_limit=stall_limit,
        )
        self._options.validate_pool(self._settings, "")
        self._declared = collect(handlers)
        if not any(handler.type.queue == queue for handler in self._declared.handlers.values()):
            raise ConfigurationError(f"no handler that was given is for the queue {queue!r}")
        self._options = self._options.for_handlers(self._declared.handlers)
        servers: tuple[Dependency, ...] = SERVERS if via is None else ("gateway",)
        self._surroundings = Surroundings.create(registry or CollectorRegistry(), self._options.concurrency, servers)
        self._stop = asyncio.Event()
        self._started = asyncio.Event()
        self._has_run = False
        self._task: asyncio.Task[None] | None = None
        self._caller: asyncio.Task[object] | None = None
        self._is_leaving = False
        self._has_cancelled_caller = False

    @property
    def health(self) -> Health:
        """The answers of a health server: stalled loops, servers that do not answer, metrics."""
        return self._surroundings.health

    @property
    def is_running(self) -> bool:
        """Whether it is connected and takes jobs."""
        return self._started.is_set() and not self._stop.is_set()

    @property
    def client(self) -> Client | None:
        """Temporal's client; None: it is not connected yet.

        Set another one when a certificate or a key was replaced, for example. It must have the same data converter.
        """
        return self._clients.client

    @client.setter
    def client(self, client: Client) -> None:
        self._clients.client = client

    async def run(self) -> None:
        """Run until `shutdown` is called or the task is cancelled. A cancelled worker also stops gracefully.

        Raises:
            ConfigurationError: a setting is wrong, or the schema is not what is declared.
            DependencyError: a server can't be reached within `DELEGATOR_START_TIMEOUT`, or a resource can't be opened.
            RuntimeError: it has run before.
        """
        task = self._begin()
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stop.set()
            await task
            raise

    async def shutdown(self) -> None:
        """Ask for a graceful stop, and wait for it."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        """Start, and wait until the worker is connected. If it fails later, the block is cancelled.

        Raises:
            ConfigurationError: a setting is wrong, or the schema is not what is declared.
            DependencyError: a server can't be reached within `DELEGATOR_START_TIMEOUT`, or a resource can't be opened.
            RuntimeError: it has run before.
        """
        task = self._begin()
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
        except asyncio.CancelledError:
            await self.shutdown()
            raise
        finally:
            started.cancel()
        self._caller = asyncio.current_task()
        task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop gracefully. If the worker has failed, this raises its error."""
        self._is_leaving = True
        await self.shutdown()
        assert self._task is not None
        if self._has_cancelled_caller and self._caller is not None:
            self._caller.uncancel()
        failure = self._task.exception()
        if failure is not None:
            raise failure

    def _begin(self) -> asyncio.Task[None]:
        if self._has_run:
            raise RuntimeError("an HttpWorker runs once: make another one")
        self._has_run = True
        self._task = asyncio.create_task(self._serve(), name="http-worker")
        return self._task

    async def _serve(self) -> None:
        surroundings = self._surroundings
        try:
            async with surroundings.liveness.watch_event_loop(self._options.stall_limit):
                await (serve if self._options.via is None else serve_via)(
                    self._options,
                    self._settings,
                    self._declared,
                    surroundings,
                    self._stop,
                    self._started.set,
                    executor=self._executor,
                    interceptors=self._interceptors,
                    clients=self._clients,
                )
        except BaseExceptionGroup as group:
            raise expected_error(group) or group from None
        finally:
            self._stop.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self._is_leaving and self._caller is not None and not task.cancelled() and task.exception() is not None:
            self._has_cancelled_caller = self._caller.cancel()
