"""Attempts, run by the code that runs them in production."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.exceptions import TimeoutType
from temporalio.worker import Interceptor

from delegator.contracts import Handler
from delegator.testing.records import AttemptStatus
from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.monitor import watch_clock

_NO_LIMIT: Final = 1_000_000


class Attempts:
    """Runs the attempts of one engine while it serves."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        converter: DataConverter,
        create_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        threads: Executor,
        client: Client | None = None,
        interceptors: Sequence[Interceptor] = (),
        on_client: Callable[[Job], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            handlers: by delegated activity type.
            converter: the client's data converter.
            create_task: starts a task of the engine.
            threads: runs handlers that are plain functions.
            client: for `activity.client()`; None: there is none.
            interceptors: activity interceptors.
            on_client: called with a job that is waited for inline, when its handler asks for the client.
        """
        self._handlers = handlers
        self._converter = converter
        self._create_task = create_task
        self._threads = threads
        self._client = client
        self._interceptors = interceptors
        self._on_client = on_client
        self._limits = TypeLimits(handlers, most_waiting=_NO_LIMIT)
        self._runners: dict[str, AttemptRunner] = {}
        self._running: set[Job] = set()
        self._reports: dict[Job, Callable[[], None]] = {}

    async def watch(self) -> None:
        """End attempts that take too long; for ever, until cancelled."""
        await watch_clock(self._running, lambda job: self._reports[job]())

    def begin(self, job: Job, queue: str, ended: Callable[[Ended], Coroutine[Any, Any, None]]) -> None:
        """Run an attempt.

        Args:
            job: as it was claimed.
            queue: the queue it came from.
            ended: awaited with how the attempt ended, in the attempt's task.
        """
        self._running.add(job)
        if self._limits.limited(job.job_type):
            self._limits.admit(job.job_type)
        runner = self._runner(queue)
        self._reports[job] = lambda: self._report(job, runner, ended)
        job.task = self._create_task(self._run(job, runner, ended))

    async def _run(self, job: Job, runner: AttemptRunner, ended: Callable[[Ended], Coroutine[Any, Any, None]]) -> None:
        job.begun = True
        try:
            if self._limits.limited(job.job_type):
                async with self._limits.permit(job.job_type):
                    how = await runner.run(job) if job.is_ours else Ended(job)
            else:
                how = await runner.run(job) if job.is_ours else Ended(job)
        except asyncio.CancelledError as error:  # while it waited for a permit
            how = runner.broken_off(job, error)
        finally:
            self._running.discard(job)
            del self._reports[job]
            job.task = None
        if not job.reported:
            await ended(how)

    def _report(self, job: Job, runner: AttemptRunner, ended: Callable[[Ended], Coroutine[Any, Any, None]]) -> None:
        """Finish an attempt that has timed out, though its handler still runs."""
        if job.timed_out is not None:
            self._create_task(ended(runner.timed_out(job, job.timed_out)))

    def timed_out(self, queue: str, job: Job, timeout_type: TimeoutType) -> Ended:
        """Return the end of an attempt that took too long."""
        return self._runner(queue).timed_out(job, timeout_type)

    def give_back(self) -> list[asyncio.Task[None]]:
        """Break all attempts off, as a worker does that stops; return their tasks."""
        for runner in self._runners.values():
            runner.shut_down()
        for job in self._running:
            job.give_back()
        return [job.task for job in self._running if job.task is not None]

    def _runner(self, queue: str) -> AttemptRunner:
        runner = self._runners.get(queue)
        if runner is None:
            metrics = WorkerMetrics(CollectorRegistry())
            runner = AttemptRunner(
                self._handlers,
                self._converter,
                queue,
                metrics,
                self._threads,
                self._client,
                self._interceptors,
                on_client=self._on_client,
            )
            self._runners[queue] = runner
        return runner


def status_of(ended: Ended) -> AttemptStatus:
    """Return how an attempt ended."""
    if ended.result is not None:
        return AttemptStatus.COMPLETED
    if ended.failure is None:
        return AttemptStatus.RELEASED
    if ended.failure.HasField("canceled_failure_info"):
        return AttemptStatus.CANCELED
    if ended.failure.HasField("timeout_failure_info"):
        return AttemptStatus.TIMED_OUT
    return AttemptStatus.FAILED
