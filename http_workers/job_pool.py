"""The jobs of one worker process, from claim to finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Protocol

from delegator.completion.failures import failure_of_type
from http_workers.alone import SUSPECT, Alone
from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.slots import Slots


class Ends(Protocol):
    """What brings ended attempts to their end."""

    @property
    def backlog(self) -> int:
        """How many wait for a server."""

    @property
    def is_idle(self) -> bool:
        """Whether everything that was added is finished."""

    def add(self, ended: Ended) -> None:
        """Take an ended attempt."""


class JobPool:
    """The jobs of one worker process, from claim to finish."""

    def __init__(self, runner: AttemptRunner, limits: TypeLimits, slots: Slots, metrics: WorkerMetrics) -> None:
        """Start empty.

        Args:
            runner: runs attempts.
            limits: per-type limits.
            slots: the worker's slots. One is freed when an attempt ends.
            metrics: this process's series.
        """
        self._runner = runner
        self._limits = limits
        self._slots = slots
        self._metrics = metrics
        metrics.running.set_function(lambda: len(self.running))
        self._overdue = 0
        self.held: dict[str, Job] = {}
        """Jobs that this worker holds: they run, or have ended and are not finished."""
        self.running: set[Job] = set()
        """Jobs whose handler runs or waits for its type's limits."""
        self.on_finished: Callable[[Job], None] | None = None
        """Called with each job that is finished; None: nobody needs to know."""
        self._alone = Alone(slots, self.held)

    def start(self, job: Job, finisher: Ends) -> None:
        """Run a claimed job."""
        older = self.held.get(job.job_id)
        if older is not None:  # the row was claimed again, so its lease had expired
            older.lose()
        self.held[job.job_id] = job
        snooze = self._alone.admit(job) if self._alone.is_taken or job.lost_in_a_row >= SUSPECT else None
        if snooze is None and self._limits.limited(job.job_type):
            snooze = self._limits.admit(job.job_type)
            if snooze is not None:
                self._metrics.snooze.labels(job.job_type).inc()
                self._alone.leave(job)
        if snooze is not None:
            finisher.add(Ended(job, snooze=snooze))
            self._free_slot(finisher)
            return
        self.running.add(job)
        job.task = asyncio.get_running_loop().create_task(self._run(job, finisher))

    async def _run(self, job: Job, finisher: Ends) -> None:
        job.begun = True
        try:
            if self._limits.limited(job.job_type) or job.lost_in_a_row >= SUSPECT:
                async with self._place(job, finisher):
                    ended = await self._runner.run(job) if job.is_ours else Ended(job)
            else:
                ended = await self._runner.run(job) if job.is_ours else Ended(job)
        except asyncio.CancelledError as error:  # while it waited for its place
            ended = self._runner.broken_off(job, error)
        except BaseException as error:  # of a payload converter, for one; the slot and the worker must outlive it
            ended = Ended(job, failure=failure_of_type(error))
        finally:
            self.running.discard(job)
            job.task = None  # its context holds the job: the cycle would be left to the garbage collector
        if not job.reported:
            finisher.add(ended)
        if job.thread is None:
            self._free_slot(finisher)
        else:  # the handler runs on in its thread, and no other job gets that thread
            free_slot = partial(asyncio.get_running_loop().call_soon_threadsafe, self._free_slot, finisher)
            job.thread.add_done_callback(partial(_from_thread, free_slot))

    @asynccontextmanager
    async def _place(self, job: Job, finisher: Ends) -> AsyncIterator[None]:
        async with AsyncExitStack() as places:
            if self._limits.limited(job.job_type):
                await places.enter_async_context(self._limits.permit(job.job_type))
            if job.lost_in_a_row >= SUSPECT:
                await places.enter_async_context(self._alone.place(job, lambda: finisher.is_idle))
            yield

    def report(self, job: Job, finisher: Ends) -> None:
        """Finish an attempt that has timed out, though its handler still runs."""
        if job.timed_out is not None:
            finisher.add(self._runner.timed_out(job, job.timed_out))

    def _free_slot(self, finisher: Ends) -> None:
        # If the database is slower than the handlers, the worker must take fewer jobs.
        if finisher.backlog > self._slots.total:
            self._overdue += 1
        else:
            self._slots.release()

    def finished(self, job: Job) -> None:
        """Forget a job; called by the finisher."""
        if self.held.get(job.job_id) is job:
            del self.held[job.job_id]
        if self._overdue:
            self._overdue -= 1
            self._slots.release()
        if self.on_finished is not None:
            self.on_finished(job)

    def lease_lost(self, lease_id: int) -> None:
        """Stop every job, because others may run them now."""
        self._metrics.leases_lost.inc()
        for job in self.running:
            job.lose()


def _from_thread(free_slot: Callable[[], object], _: object) -> None:
    with suppress(RuntimeError):  # the event loop is closed: the worker has stopped
        free_slot()
