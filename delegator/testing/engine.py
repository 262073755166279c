"""An engine in the test's own process: production's code around a table in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack, overload

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import Interceptor

from delegator.completion.failures import MAX_INPUT_BYTES, too_large
from delegator.contracts import DelegatedType, JobOptions, Source, TypeOptions, collect_types, delegated_type
from delegator.errors import ConfigurationError
from delegator.testing.handlers import Fakes, Provided, declared_in, resources_of
from delegator.testing.records import Delivery, JobRecord, JobStatus
from delegator.testing.rows import InlineWait, Row
from delegator.testing.service import Service
from delegator.testing.table import JobTable
from delegator.wire.codec import encode_payloads
from delegator.wire.options import encode_options
from delegator.wire.outcomes import OutcomeStatus
from http_workers.interception import checked_interceptors

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class InMemoryEngine:
    """Runs jobs in the test's own process, without PostgreSQL and without a stream.

    The code that runs an attempt, decides on the next one, makes failures and signals workflows is production's.
    `DelegatorTestPlugin` puts an engine behind a Temporal worker. By itself it runs jobs that no workflow waits for:

        async with InMemoryEngine([tasks]) as engine:
            assert await engine.run(tasks.charge, order) == receipt
    """

    def __init__(
        self,
        delegated: Iterable[Source] = (),
        *,
        fakes: Fakes | None = None,
        provide: Provided | None = None,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        skip_retry_delays: bool = True,
        paused: bool = False,
        jobs_outlive_runs: bool = False,
    ) -> None:
        """Prepare the engine; nothing runs yet.

        Args:
            delegated: what an `HttpWorker` is given: modules, functions, objects, resources.
            fakes: what runs in place of some handlers; keys are declared functions or names of types. A contract,
                whose handler is elsewhere, needs one.
            provide: values of resources; the other ones are opened when the engine starts, as in a worker.
            data_converter: converts arguments and results; behind a Temporal worker its client's does.
            interceptors: activity interceptors, as of `HttpWorker`.
            skip_retry_delays: begin the next attempt at once, and leave start delays out. The job's deadline comes
                nearer by what was skipped, so that as many attempts are made as in production. False: wait as
                production does.
            paused: take no jobs until `resume`, as if no worker ran.
            jobs_outlive_runs: jobs go on when their workflow run has closed, as with `DELEGATOR_JOBS_OUTLIVE_RUNS`.

        Raises:
            ConfigurationError: a declaration or a fake is wrong.
        """
        delegated = list(delegated)
        self._declared = declared_in(delegated, fakes)
        self._provided = provide or {}
        self._types = collect_types(delegated)
        self._types.update({name: handler.type for name, handler in self._declared.handlers.items()})
        self._converter = data_converter or DataConverter.default
        self._interceptors = checked_interceptors(interceptors)
        self._skip_retry_delays = skip_retry_delays
        self._jobs_outlive_runs = jobs_outlive_runs
        self._table = JobTable(is_paused=paused)
        self._services: list[Service] = []
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin to run jobs."""
        await self._exits.enter_async_context(self.serving(None))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Break off what still runs."""
        await self._exits.aclose()

    @asynccontextmanager
    async def serving(self, client: Client | None) -> AsyncIterator[None]:
        """Run jobs while the context is open. For the plugin.

        Args:
            client: of the worker whose workflows enqueue jobs; None: only `run` does.
        """
        if client is not None:
            self._converter = client.data_converter
        # Opened first: the handlers' tasks have the context in which the service is made.
        async with resources_of(self._declared, self._provided):
            service = Service(
                self._table,
                self._declared.handlers,
                self._converter,
                client=client,
                skip_retry_delays=self._skip_retry_delays,
                interceptors=self._interceptors,
                jobs_outlive_runs=self._jobs_outlive_runs,
            )
            async with service.serving():
                self._services.append(service)
                try:
                    yield
                finally:
                    self._services.remove(service)
        if self._services:
            self.service.take_abandoned()

    @property
    def service(self) -> Service:
        """What runs the jobs now. For the plugin.

        Raises:
            ConfigurationError: nothing does.
        """
        if not self._services:
            raise ConfigurationError("the engine does not run: use `async with` on it, or on a worker that has it")
        return self._services[-1]

    @property
    def jobs(self) -> list[JobRecord]:
        """Every job so far, in the order in which they were enqueued."""
        return [self._record(row) for row in self._table.rows]

    def jobs_of(self, function: Callable[..., Any] | str) -> list[JobRecord]:
        """Return the jobs of one delegated activity type so far.

        Args:
            function: a declared function, or the type's name.

        Raises:
            ConfigurationError: the function is not declared.
        """
        name = _name_of(function)
        return [self._record(row) for row in self._table.rows if row.job_type == name]

    def pause(self, function: Callable[..., Any] | str | None = None, /, *, queue: str | None = None) -> None:
        """Take no more jobs; those that run go on.

        Without arguments it is as if all workers had gone. A type or a queue is paused as the commands `delegator types
        pause` and `delegator queues pause` do it: the deadlines of its jobs stand still, and a job that fails is not
        tried again before the pause ends.

        Args:
            function: pauses a type: a declared function, or the type's name.
            queue: pauses a queue.

        Raises:
            ConfigurationError: the function is not declared.
        """
        pauses = self._table.pauses
        if function is not None:
            pauses.types.add(_name_of(function))
        if queue is not None:
            pauses.queues.add(queue)
        if function is None and queue is None:
            self._table.is_paused = True
        pauses.hold(self._table.rows)

    def resume(self, function: Callable[..., Any] | str | None = None, /, *, queue: str | None = None) -> None:
        """End a pause: take the jobs that wait, those with the lowest priority key first, and those to come.

        A job is free when neither its type nor its queue is paused. Its deadline has moved by the time for which it was
        paused, and its next attempt is due when it would have been, or now.

        Args:
            function: as in `pause`.
            queue: as in `pause`.

        Raises:
            ConfigurationError: the function is not declared.
        """
        pauses = self._table.pauses
        if function is not None:
            pauses.types.discard(_name_of(function))
        if queue is not None:
            pauses.queues.discard(queue)
        if function is None and queue is None:
            self._table.is_paused = False
        if not self._services:
            return
        if function is not None or queue is not None:
            pauses.free(self._table.rows, self.service.take_in_order)
        else:
            waiting = (row for row in self._table.rows if row.status is JobStatus.WAITING and row.paused_at is None)
            self.service.take_in_order(waiting)

    def clear(self) -> None:
        """Forget the jobs that are finished."""
        self._table.forget_finished()

    @overload
    async def run(
        self,
        function: Callable[[*Ts], Awaitable[R]],
        /,
        *args: *Ts,
        job_id: str | None = None,
        **options: Unpack[TypeOptions],
    ) -> R: ...
    @overload
    async def run(
        self, function: Callable[[*Ts], R], /, *args: *Ts, job_id: str | None = None, **options: Unpack[TypeOptions]
    ) -> R: ...
    @overload
    async def run(
        self, function: str, /, *args: Any, job_id: str | None = None, **options: Unpack[TypeOptions]
    ) -> Any: ...
    async def run(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self, function: Any, /, *args: Any, job_id: str | None = None, **options: Unpack[TypeOptions]
    ) -> Any:
        """Run one job to its end, retries included, and return its result.

        Args:
            function: a declared function, or the name of a delegated activity type.
            args: the handler's arguments.
            job_id: its id; by default a new one.
            options: what the job asks of its execution, over what the type says; the keywords of `delegated`.

        Raises:
            temporalio.exceptions.ActivityError: the job failed, timed out or was canceled; its cause says why.
            temporalio.exceptions.ApplicationError: the arguments are too large.
            ConfigurationError: `function` is not declared, an option is out of range, or the engine does not run.
        """
        service = self.service
        declared = self._type(function)
        asked = JobOptions(**options)
        asked.validate(declared.name)
        row = Row(
            job_id=job_id or f"job-{uuid.uuid4()}",
            job_type=declared.name,
            queue=declared.queue,
            input=b"",
            plain_input=b"",
            options=encode_options(asked.over(declared.options)),
        )
        conversion = service.conversions.of(row.origin())
        values = conversion.values
        row.plain_input = values.encode(args)
        row.input = await encode_payloads(row.plain_input, conversion.codec)
        if len(row.input) > MAX_INPUT_BYTES:
            raise too_large(f"the input of {declared.name}", len(row.input), MAX_INPUT_BYTES)
        row.waiter = waiter = InlineWait()
        waiter.add()
        self._table.add(row)
        service.take(row)
        await waiter.wait(None)
        row.delivery = Delivery.INLINE
        error = row.error(service.converter)
        if error is not None:
            raise error
        assert row.outcome is not None and row.outcome.status is OutcomeStatus.COMPLETED
        results = values.decode(row.outcome.body, None if declared.return_type is None else [declared.return_type])
        return results[0] if results else None

    def _type(self, function: Callable[..., Any] | str) -> DelegatedType:
        if not isinstance(function, str):
            return delegated_type(function)
        declared: DelegatedType | None = self._types.get(function)
        if declared is None:
            raise ConfigurationError(f"no delegated activity type {function!r} was given to this engine")
        return declared

    def _record(self, row: Row) -> JobRecord:
        declared = self._types.get(row.job_type)
        if declared is None:
            return row.record(self._converter, None, None)
        return row.record(self._converter, declared.arg_types, declared.return_type)


def _name_of(function: Callable[..., Any] | str) -> str:
    return function if isinstance(function, str) else delegated_type(function).name
