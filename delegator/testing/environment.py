"""Handlers alone: one attempt of one job, in a plain unit test."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from prometheus_client import CollectorRegistry
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter

from delegator.contracts import Handler, JobOptions, TypeOptions, collect_handlers, existing_activities
from delegator.contracts.types import declaration_of
from delegator.errors import ConfigurationError
from delegator.testing.handlers import Provided, provide_all
from delegator.testing.rows import Row, WatchedJob
from delegator.wire.codec import encode_payloads
from delegator.wire.contexts import Conversion, Conversions
from delegator.wire.options import encode_options
from http_workers.attempt import AttemptRunner, Ended
from http_workers.metrics import WorkerMetrics
from http_workers.monitor import watch_clock

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class JobEnvironment:
    """Runs handlers one attempt at a time, as a worker does, and tells what they said.

    `current_job()` and `heartbeat()` work in them; arguments and results pass through the data converter; timeouts of
    the declared type hold:

        job = JobEnvironment(attempt=2, heartbeat_details=["page", 12])
        assert await job.run(tasks.import_pages, "catalogue") == 20
        assert job.heartbeats[-1] == ("page", 20)
    """

    def __init__(
        self,
        *,
        job_id: str = "test-job",
        attempt: int = 1,
        heartbeat_details: Sequence[Any] = (),
        workflow_id: str | None = "test-workflow",
        run_id: str | None = "test-run",
        provide: Provided | None = None,
        data_converter: DataConverter | None = None,
        **options: Unpack[TypeOptions],
    ) -> None:
        """Describe the job whose attempts are run.

        Args:
            job_id: its id.
            attempt: the number of the attempt, from 1.
            heartbeat_details: what the previous attempt said in its last heartbeat.
            workflow_id: the workflow that waits; None: none does.
            run_id: its run.
            provide: values of the resources that the handler uses.
            data_converter: converts arguments and results; by default Temporal's default.
            options: what the job asks of its execution, over what its type says; the keywords of `delegated`.
        """
        self._job_id = job_id
        self._attempt = attempt
        self._heartbeat_details = heartbeat_details
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._options = JobOptions(**options)
        self._provided = provide or {}
        self._converter = data_converter or DataConverter.default
        self._conversions = Conversions(self._converter)
        self._jobs: list[WatchedJob] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancel_requested = False

    @property
    def heartbeats(self) -> list[tuple[Any, ...]]:
        """The details of each heartbeat so far, in order."""
        return [
            tuple(self._conversion(job).converter.payload_converter.from_payloads(details))
            for job in self._jobs
            for details in job.heartbeats
        ]

    def _conversion(self, job: WatchedJob) -> Conversion:
        return self._conversions.shared if job.conversion is None else job.conversion

    def cancel(self) -> None:
        """Ask the handler to stop, as a cancellation of the workflow does. From any thread; before `run`, too.

        An `async def` gets `asyncio.CancelledError`, a plain function Temporal's `CancelledError`, an activity with its
        next heartbeat; `current_job().is_cancel_requested()` turns true.
        """
        self._cancel_requested = True
        for job in self._jobs:
            job.cancel_requested = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(job.request_cancel)

    @overload
    async def run(self, function: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R: ...
    @overload
    async def run(self, function: Callable[[*Ts], R], /, *args: *Ts) -> R: ...
    async def run(self, function: Any, /, *args: Any) -> Any:  # type: ignore[misc]  # Any takes every *Ts
        """Run one attempt and return the handler's result.

        Args:
            function: a declared function or method that has a body, or an activity.
            args: its arguments.

        Raises:
            Exception: what the handler raises, itself.
            temporalio.exceptions.TimeoutError: it took too long, or was silent for too long.
            temporalio.exceptions.CancelledError: it was canceled.
            BaseException: that of `activity.raise_complete_async()`, as in Temporal's `ActivityEnvironment`.
            temporalio.exceptions.ApplicationError: the arguments can't be decoded, or the result can't be encoded.
            ConfigurationError: the function is not declared, is a contract, or needs an object; or an option is wrong.
        """
        handler = _handler(function)
        self._options.validate(handler.type.name)
        raised: list[BaseException] = []
        watched = dataclasses.replace(handler, function=_watched(handler, raised))
        job = await self._claim(handler, args)
        self._jobs.append(job)
        metrics = WorkerMetrics(CollectorRegistry())
        threads = ThreadPoolExecutor(1, thread_name_prefix="handler")
        runner = AttemptRunner({handler.type.name: watched}, self._converter, handler.type.queue, metrics, threads)
        try:
            ended = await self._attempt_of(runner, job)
        finally:
            threads.shutdown(wait=False)
        if ended.result is not None:
            hints = None if handler.type.return_type is None else [handler.type.return_type]
            results = self._conversion(job).values.decode(ended.result, hints)
            return results[0] if results else None
        if ended.asynchronous:
            raise raised[0]
        assert ended.failure is not None
        if raised and not _has_its_own_error(ended.failure):
            raise raised[0]
        converter = self._conversion(job).converter
        raise converter.failure_converter.from_failure(ended.failure, converter.payload_converter)

    async def _claim(self, handler: Handler, args: Sequence[Any]) -> WatchedJob:
        row = Row(
            job_id=self._job_id,
            job_type=handler.type.name,
            queue=handler.type.queue,
            input=b"",
            plain_input=b"",
            options=encode_options(self._options.over(handler.type.options)),
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            attempt=self._attempt - 1,
            cancel_requested=self._cancel_requested,
        )
        conversion = self._conversions.of(row.origin())
        details = Payloads(payloads=conversion.converter.payload_converter.to_payloads(self._heartbeat_details))
        row.input = await encode_payloads(conversion.values.encode(args), conversion.codec)
        row.heartbeat_details = await encode_payloads(details.SerializeToString(), conversion.codec) or None
        return row.claim()

    async def _attempt_of(self, runner: AttemptRunner, job: WatchedJob) -> Ended:
        self._loop = asyncio.get_running_loop()

        async def run() -> Ended:
            job.begun = True
            return await runner.run(job)

        # A task of its own: the job of the handler must not become the job of the test.
        with provide_all(self._provided):
            attempt = asyncio.create_task(run())
        job.task = attempt  # type: ignore[assignment]  # a worker's tasks return nothing
        reported = asyncio.Event()
        watching = asyncio.create_task(watch_clock([job], lambda _: reported.set()))
        waiting = asyncio.create_task(reported.wait())
        try:
            await asyncio.wait([attempt, waiting], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the test itself is broken off
            if job.thread is not None:
                job.lose()  # its thread must not run on
            attempt.cancel()
            await asyncio.wait([attempt])
            raise
        finally:
            job.task = None
            for task in (watching, waiting):
                task.cancel()
            await asyncio.wait([watching, waiting])
        if job.reported and job.timed_out is not None:
            return runner.timed_out(job, job.timed_out)
        return attempt.result()


@overload
async def run_handler(
    function: Callable[[*Ts], Awaitable[R]],
    /,
    *args: *Ts,
    job_id: str = "test-job",
    attempt: int = 1,
    heartbeat_details: Sequence[Any] = (),
    provide: Provided | None = None,
    data_converter: DataConverter | None = None,
    **options: Unpack[TypeOptions],
) -> R: ...
@overload
async def run_handler(
    function: Callable[[*Ts], R],
    /,
    *args: *Ts,
    job_id: str = "test-job",
    attempt: int = 1,
    heartbeat_details: Sequence[Any] = (),
    provide: Provided | None = None,
    data_converter: DataConverter | None = None,
    **options: Unpack[TypeOptions],
) -> R: ...
async def run_handler(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
    function: Any,
    /,
    *args: Any,
    job_id: str = "test-job",
    attempt: int = 1,
    heartbeat_details: Sequence[Any] = (),
    provide: Provided | None = None,
    data_converter: DataConverter | None = None,
    **options: Unpack[TypeOptions],
) -> Any:
    """Run one attempt of a job in a plain unit test and return the handler's result; short for `JobEnvironment`.

    Args:
        function: a declared function or method that has a body, or an activity.
        args: its arguments.
        job_id: what `current_job().job_id` says.
        attempt: the number of the attempt, from 1.
        heartbeat_details: what the previous attempt said in its last heartbeat.
        provide: values of the resources that the handler uses.
        data_converter: converts arguments and results; by default Temporal's default.
        options: what the job asks of its execution, over what its type says; the keywords of `delegated`.

    Raises:
        Exception: as `JobEnvironment.run`.
    """
    environment = JobEnvironment(
        job_id=job_id,
        attempt=attempt,
        heartbeat_details=heartbeat_details,
        provide=provide,
        data_converter=data_converter,
        **options,
    )
    return await environment.run(function, *args)


def _handler(function: Callable[..., Any]) -> Handler:
    is_declared = declaration_of(function) is not None
    handlers = collect_handlers([function] if is_declared else existing_activities(function))
    if not handlers:
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(f"{name} is a contract: it has no body to run; run the function that @implements it")
    return next(iter(handlers.values()))


def _watched(handler: Handler, raised: list[BaseException]) -> Callable[..., Any]:
    """Return the handler's function, of its own sort, with its exception kept: a failure made of it is another."""
    function = handler.function
    if handler.is_async:

        @wraps(function)
        async def run(*args: Any) -> Any:
            try:
                return await function(*args)
            except BaseException as error:
                raised.append(error)
                raise

        return run

    @wraps(function)
    def run_in_thread(*args: Any) -> Any:
        try:
            return function(*args)
        except BaseException as error:
            raised.append(error)
            raise

    return run_in_thread


def _has_its_own_error(failure: Failure) -> bool:
    """Return whether Temporal has an error for what ended the attempt, whatever the handler made of it."""
    return failure.HasField("timeout_failure_info") or failure.HasField("canceled_failure_info")
