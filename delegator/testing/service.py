"""What runs the jobs of an in-memory engine: the workers, the sweeper and the signals of production, in one place."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.exceptions import TimeoutType
from temporalio.worker import Interceptor

from delegator.completion import mailbox
from delegator.completion.failures import Ending, canceled_outcome, failed_outcome, overdue
from delegator.completion.retry import Retry
from delegator.completion.runs import RunKey, Runs
from delegator.completion.signals import SignalSender
from delegator.config import Settings
from delegator.contracts import Handler
from delegator.postgres.dead_letters import Reason
from delegator.runtime.backoff import Backoff
from delegator.testing.attempts import Attempts, status_of
from delegator.testing.records import AttemptRecord, Delivery, JobStatus
from delegator.testing.rows import Row, WatchedJob
from delegator.testing.run_watch import watch_runs
from delegator.testing.table import IDENTITY, JobTable
from delegator.wire.codec import encode_payloads
from delegator.wire.contexts import Conversions
from delegator.wire.outcomes import Outcome, OutcomeStatus
from http_workers.attempt import Ended
from http_workers.job import Job
from http_workers.threads import HandlerThreads
from http_workers.verdict import judge

_log = logging.getLogger(__name__)

# Seconds in place of a delay that is skipped. The pause doubles: a job that always fails leaves time for others.
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1
_REFUSAL_GRACE: Final = Settings.model_fields["refusal_grace"].default
_THREADS: Final = 200  # as many as an `HttpWorker` has by default
_UNSENDABLE_PAUSE: Final = 0.5
_STOP_LIMIT: Final = 5.0  # seconds for handlers to end, and for outcomes to be delivered, as in a worker


class Service:
    """Runs the jobs of a table while a worker runs."""

    def __init__(
        self,
        table: JobTable,
        handlers: Mapping[str, Handler],
        converter: DataConverter,
        *,
        client: Client | None,
        skip_retry_delays: bool,
        interceptors: Sequence[Interceptor] = (),
        jobs_outlive_runs: bool = False,
    ) -> None:
        """Prepare; see `serving`.

        Args:
            table: the jobs.
            handlers: by delegated activity type.
            converter: the client's data converter.
            client: sends signals; None: no workflow waits for any job.
            skip_retry_delays: begin the next attempt at once, and the first one of a job with a start delay.
            interceptors: activity interceptors.
            jobs_outlive_runs: whether jobs go on when their workflow run has closed.
        """
        self.table = table
        self.converter = converter
        self.conversions = Conversions(converter)
        self.namespace = None if client is None else client.namespace
        self._skip_retry_delays = skip_retry_delays
        self._signals = None if client is None else SignalSender(client, identity=IDENTITY)
        self._threads = HandlerThreads(_THREADS)
        self._attempts = Attempts(
            handlers, converter, self._create_task, self._threads, client, interceptors, self._leave_to_signal
        )
        # A handler must not find the activity in whose context its job was enqueued.
        self._context = contextvars.copy_context()
        self._group = asyncio.TaskGroup()
        self._outbox: dict[RunKey, list[Row]] = defaultdict(list)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._runs = None if client is None else Runs(client, _pause)
        self._watched = None if jobs_outlive_runs else client
        self._is_stopping = self._has_stopped = False
        self._mine: set[Row] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run jobs while the context is open; then break off what still runs, as a worker does that stops."""
        failure: BaseException | None = None
        async with self._group:
            watching = [self._create_task(self._attempts.watch())]
            if self._watched is not None:
                watching.append(self._create_task(watch_runs(self._watched, lambda: self.table.rows, self._end)))
            self.take_abandoned()
            try:
                yield
            except BaseException as error:  # raised below: as it is, not within a group
                failure = error
            await self._stop()
            self._threads.shutdown(wait=False, cancel_futures=True)
            for task in watching:
                task.cancel()
        if failure is not None:
            raise failure

    def take_abandoned(self) -> None:
        """Take the unfinished jobs of workers that have stopped."""
        self.take_in_order(row for row in self.table.rows if row.outcome is None and row.job is None and not row.timer)

    def take_in_order(self, rows: Iterable[Row]) -> None:
        """Run jobs that wait, those with the lowest priority key first."""
        for row in sorted(rows, key=lambda row: row.priority):
            self.take(row)

    def take(self, row: Row) -> None:
        """Run a job that waits, unless it or the engine is paused."""
        loop = asyncio.get_running_loop()
        row.stop_timer()
        self._mine.add(row)
        if self._is_stopping:
            row.status = JobStatus.WAITING
            return
        self.table.pauses.hold([row])
        if row.paused_at is not None:
            return
        if self.table.is_paused:
            row.status = JobStatus.WAITING
            due_at = row.due_at()
            if due_at is not None:
                row.timer = loop.call_later(due_at - time.monotonic(), self._time_out, row)
            return
        if not row.attempt and (delay := self._rest_of_start_delay(row)) > 0:
            row.status = JobStatus.WAITING
            row.timer = loop.call_later(delay, self.take, row)
            return
        row.status = JobStatus.RUNNING
        row.job = job = row.claim()
        self._attempts.begin(job, row.queue, lambda ended: self._ended(row, job, ended))

    def _rest_of_start_delay(self, row: Row) -> float:
        delay = row.start_delay
        if self._skip_retry_delays and delay > _FIRST_PAUSE and not row.delay_was_skipped:
            row.delay_was_skipped = True
            row.started -= delay - _FIRST_PAUSE
        return row.started + delay - time.monotonic()

    def cancel(self, job_ids: Iterable[str]) -> dict[str, Outcome]:
        """Remove jobs that wait and ask running ones to stop; return the outcomes of the removed."""
        removed: dict[str, Outcome] = {}
        for job_id in job_ids:
            row = self.table.by_id.get(job_id)
            if row is None or row.outcome is not None:
                continue
            if row.job is None:
                canceled = canceled_outcome(job_id=job_id, job_type=row.job_type, identity=IDENTITY)
                row.waiter = None
                row.resolve(canceled)
                row.delivery = Delivery.INLINE
                self._mine.discard(row)
                del self.table.by_id[job_id]
                removed[job_id] = canceled
            else:
                row.cancel_requested = True
                row.job.request_cancel()
        return removed

    def _end(self, job_ids: set[str]) -> None:
        """Cancel jobs of closed runs."""
        removed = self.cancel(job_ids)
        for row in self.table.rows:
            if row.job_id in removed:
                row.delivery = Delivery.ORPHANED

    def hand_over(self, row: Row) -> None:
        """Have an outcome signalled that nobody will read inline."""
        row.waiter = None
        if row.workflow_id is None or row.run_id is None or self.namespace is None:
            return
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._outbox[RunKey(row.namespace or self.namespace, row.workflow_id, row.run_id)].append(row)

    def _leave_to_signal(self, job: Job) -> None:
        """Have a workflow's job signalled, because its handler has asked for the client."""
        row = self.table.by_id.get(job.job_id)
        if row is not None and row.workflow_id is not None and job.task is not None:
            job.task.get_loop().call_soon_threadsafe(row.leave_to_signal)

    def expect_heartbeat(self, row: Row, job: WatchedJob) -> None:
        """Time an open attempt out unless a client completes it, or sends a heartbeat, in time."""
        row.stop_timer()
        left = None if row.open_until is None else row.open_until - time.monotonic()
        limit = job.options.heartbeat_timeout
        beat = None if limit is None else limit.total_seconds()
        limits = [(left, TimeoutType.START_TO_CLOSE), (beat, TimeoutType.HEARTBEAT)]
        due = [(seconds, timeout_type) for seconds, timeout_type in limits if seconds is not None]
        if due:
            seconds, timeout_type = min(due, key=lambda one: one[0])
            loop = asyncio.get_running_loop()
            row.timer = loop.call_later(seconds, self._open_timed_out, row, job, timeout_type)

    def end_open(self, row: Row, ended: Ended, outcome: Outcome) -> None:
        """Store the outcome of a job whose attempt a client has ended."""
        if row.job is not None:
            self._note(row, row.job, ended, None)
        row.is_left_open = False
        self._resolve(row, outcome)

    async def retry_open(self, row: Row, ended: Ended, failure: Failure, delay: timedelta) -> None:
        """Schedule the next attempt of a job whose attempt a client has failed."""
        row.stop_timer()
        row.is_left_open = False
        if row.job is not None:
            self._note(row, row.job, ended, delay)
            await self._retry(row, row.job, failure, delay)

    def _open_timed_out(self, row: Row, job: WatchedJob, timeout_type: TimeoutType) -> None:
        row.timer = None
        self._create_task(self._ended(row, job, self._attempts.timed_out(row.queue, job, timeout_type)))

    async def _ended(self, row: Row, job: WatchedJob, ended: Ended) -> None:
        if row.outcome is not None or row.job is not job:
            return  # a client has ended the attempt
        row.is_left_open = ended.asynchronous
        if ended.asynchronous:
            row.open_until = None if job.left_ms is None else time.monotonic() + job.left_ms / 1000
            self.expect_heartbeat(row, job)
            return
        if ended.result is None and ended.failure is None:
            row.job = None
            row.attempt -= 1  # broken off because the worker stops: it does not count
            row.status = JobStatus.WAITING
            self._note(row, job, ended, None)
        elif ended.failure is None:
            self._note(row, job, ended, None)
            self._resolve(row, Outcome(OutcomeStatus.COMPLETED, ended.result or b""))
        else:
            # No other pool can have a handler that this engine lacks, so its jobs are not offered again.
            verdict = judge(
                ended,
                ended.failure,
                identity=IDENTITY,
                now=time.monotonic(),
                grace=_REFUSAL_GRACE,
                last_failure=row.last_failure,
            )
            if isinstance(verdict, Retry):
                self._note(row, job, ended, verdict.delay)
                await self._retry(row, job, ended.failure, verdict.delay)
            else:
                self._note(row, job, ended, None)
                row.dead_letter = verdict.dead_letter_reason
                self._resolve(row, verdict.outcome)

    async def _retry(self, row: Row, job: WatchedJob, failure: Failure, delay: timedelta) -> None:
        if job.details is not None:
            row.last_details = job.details
            details = Payloads(payloads=job.details).SerializeToString()
            with suppress(Exception):  # a codec may raise any error; production logs it
                row.heartbeat_details = await encode_payloads(details, self.conversions.of(row.origin()).codec)
        row.job = None
        row.status = JobStatus.BACKING_OFF
        row.last_failure = failure
        seconds = 0.0 if row.cancel_requested else delay.total_seconds()
        if self._skip_retry_delays:
            pause = min(seconds, _FIRST_PAUSE * 2 ** min(job.attempt - 1, 10), _LONGEST_PAUSE)
            row.started -= seconds - pause
            seconds = pause
        row.timer = asyncio.get_running_loop().call_later(seconds, self.take, row)
        self.table.pauses.hold([row])

    def _note(self, row: Row, job: WatchedJob, ended: Ended, retry_delay: timedelta | None) -> None:
        converter = self.conversions.of(row.origin()).converter
        payloads, failures = converter.payload_converter, converter.failure_converter
        error = None if ended.failure is None else failures.from_failure(ended.failure, payloads)
        if ended.failure is not None and not ended.failure.HasField("canceled_failure_info"):
            # A test that hangs, because a job is retried without end, shows why. Here nothing is secret.
            trace = f"\n{ended.failure.stack_trace}" if job.attempt == 1 and ended.failure.stack_trace else ""
            _log.warning("attempt_failed: %s, attempt %d: %s%s", job.job_type, job.attempt, error, trace)
        row.attempts.append(
            AttemptRecord(
                number=job.attempt,
                status=status_of(ended),
                error=error,
                heartbeats=tuple(tuple(payloads.from_payloads(details)) for details in job.heartbeats),
                retry_delay=retry_delay,
            )
        )

    def _time_out(self, row: Row) -> None:
        """End a job that nobody took in time."""
        failure = overdue(row.attempt, row.last_details, row.last_failure)
        if row.workflow_id is None:
            row.dead_letter = Reason.TIMED_OUT
        outcome = failed_outcome(
            failure,
            job_id=row.job_id,
            job_type=row.job_type,
            identity=IDENTITY,
            retry_state=RetryState.RETRY_STATE_TIMEOUT,
            ending=Ending.TIMED_OUT,
        )
        self._resolve(row, outcome)

    def _resolve(self, row: Row, outcome: Outcome) -> None:
        row.job = None
        row.resolve(outcome)
        self._mine.discard(row)
        if row.waiter is not None:
            row.waiter.arrived()
        else:
            self.hand_over(row)

    def _deliver(self) -> None:
        """Signal what has gathered within one turn of the event loop."""
        outbox, self._outbox = self._outbox, defaultdict(list)
        if self._has_stopped:
            return
        for key, rows in outbox.items():
            task = self._create_task(self._signal(key, rows))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    async def _signal(self, key: RunKey, rows: Sequence[Row]) -> None:
        assert self._signals is not None and self._runs is not None
        if any(row.cancel_requested for row in rows):
            # A handler stops sooner than in production. Temporal would have the workflow task run again that has just
            # asked for it, if it is to end the workflow and a signal comes in between.
            await self._runs.workflow_task_ended(key, lambda: self._is_stopping)
        outcomes = [(row.job_id, row.outcome) for row in rows if row.outcome is not None]
        delivery = await self._deliver_one(key, outcomes)
        for row in rows:
            row.delivery = Delivery.ORPHANED if delivery is mailbox.Delivery.ORPHANED else Delivery.SIGNAL
            if self.table.by_id.get(row.job_id) is row:
                del self.table.by_id[row.job_id]  # as its row is deleted in production

    async def _deliver_one(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> mailbox.Delivery:
        """Signal outcomes. What a codec refuses is tried again, as production's signaller does."""
        assert self._signals is not None
        while True:
            try:
                return await self._signals.deliver(key, outcomes)
            except Exception as error:  # a codec may raise any error
                _log.error("outcomes_unsendable: %s", error)
                await asyncio.sleep(_UNSENDABLE_PAUSE)

    async def _stop(self) -> None:
        self._is_stopping = True
        for row in self._mine:
            row.stop_timer()
        if tasks := self._attempts.give_back():
            await asyncio.wait(tasks, timeout=_STOP_LIMIT)
        if self._signals is not None:
            self._signals.hurry()
            await asyncio.sleep(0)  # what has just ended is in the outbox
            if self._deliveries:
                await asyncio.wait(self._deliveries, timeout=_STOP_LIMIT)
            self._has_stopped = True
            await self._signals.close()

    def _create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._group.create_task(coroutine, context=self._context.copy())


async def _pause(key: RunKey, error: Exception, backoff: Backoff) -> None:
    await backoff.sleep()
