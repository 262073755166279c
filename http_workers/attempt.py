"""Runs one attempt: decodes the arguments, calls the handler, encodes the result."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from temporalio import activity
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.common import MetricMeter, RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutType
from temporalio.runtime import Runtime
from temporalio.worker import Interceptor

from delegator.completion.failures import MAX_OUTCOME_BYTES, failure_of, timed_out, too_large, within_limit
from delegator.context import CurrentJob, JobContext, JobLogger, set_current_job
from delegator.contracts import DYNAMIC_TYPE, Handler
from delegator.postgres.dead_letters import Reason
from delegator.runtime.logs import place_of
from delegator.wire.codec import decode_payloads
from delegator.wire.values import ValueConverter, is_default
from http_workers.activity_context import ActivitySurroundings, shutdown_event
from http_workers.failure_log import log_as_temporal
from http_workers.invocation import Invoker, start_clock, stop_clock, task_token, wait_for_thread
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics

_TOO_NEW_SNOOZE: Final = timedelta(seconds=10)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ended:
    """An attempt that has ended."""

    job: Job
    """The job."""
    result: bytes | None = None
    """A serialized `Payloads`, if the attempt succeeded."""
    failure: Failure | None = None
    """What went wrong, if it failed, was canceled or timed out."""
    refusal: Reason | None = None
    """Why this worker could not begin the attempt; another one may. None: it began, or was snoozed."""

    snooze: timedelta | None = None
    """How long the job is snoozed, by its type's limits or because its row is too new. None: the attempt began."""

    at: str = ""
    """Where the handler raised its error, as `place_of` returns it; empty: it raised none."""

    asynchronous: bool = False
    """Whether the handler leaves the attempt to a client, which will complete it."""

    forgotten: bool = False
    """The worker does not hold the job any more."""

    @property
    def released(self) -> bool:
        """Whether this worker's stop broke the attempt off. Other workers run the job."""
        return self.result is None and self.failure is None and self.snooze is None and not self.asynchronous


class AttemptRunner:
    """Runs attempts with the handlers of this worker."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        converter: DataConverter,
        queue: str,
        metrics: WorkerMetrics,
        threads: Executor | None = None,
        client: Client | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        """Prepare the runner.

        Args:
            handlers: by delegated activity type.
            converter: decodes arguments, encodes results and failures.
            queue: the queue served.
            metrics: this process's series.
            threads: runs plain functions; None: there are none.
            client: for `activity.client()`; None: there is none.
            interceptors: the user's activity interceptors.
        """
        self._handlers = handlers
        self._dynamic = handlers.get(DYNAMIC_TYPE)
        self._shutdown = shutdown_event()
        surroundings = ActivitySurroundings(converter.payload_converter, client, _meter(client), self._shutdown)
        self._invoker = Invoker(surroundings, threads, queue, self._send_heartbeat, interceptors)
        self._intercepts = bool(interceptors)
        self._converter = converter
        self._codec = converter.payload_codec
        self._values = ValueConverter(converter.payload_converter, is_default=is_default(converter))
        self._queue = queue
        self._metrics = metrics
        self._series = {
            name: (
                metrics.run_seconds.labels(name),
                metrics.finished.labels(name, "completed"),
            )
            for name in handlers
        }

    def use_client(self, client: Client) -> None:
        """Give another client to the handlers that begin from here on."""
        self._invoker.use_client(client)

    async def run(self, job: Job) -> Ended:
        """Run one attempt. It does not raise."""
        if job.too_new is not None:
            return self._left_to_newer(job, job.too_new)
        handler = self._handlers.get(job.job_type, self._dynamic)
        if handler is None:
            return self._refused(job, Reason.UNKNOWN_TYPE, self._not_found(job))
        if job.broken is not None:
            return self._refused(job, Reason.UNDECODABLE, ApplicationError(job.broken))
        try:
            args = await self._arguments(job.row.input, handler)
            if job.row.heartbeat_details is not None:
                job.last_heartbeat_details = await self._last_heartbeat_details(job.row.heartbeat_details)
        except asyncio.CancelledError as error:
            return self.broken_off(job, error)
        except Exception as error:
            # The type and the words are those of Temporal's worker.
            undecodable = ApplicationError("Failed decoding arguments")
            undecodable.__cause__ = error
            return self._refused(job, Reason.UNDECODABLE, undecodable)
        if job.cancel_requested:
            return Ended(job, failure=self._failure(CancelledError("Cancelled")))
        seconds, completed = self._series[handler.type.name]
        ended = await self._call(job, handler, args)
        if job.started_at:
            seconds.observe(time.monotonic() - job.started_at)
        if ended.result is not None:
            completed.inc()
        else:
            self._metrics.finished.labels(handler.type.name, _result_label(ended)).inc()
        return ended

    async def _call(self, job: Job, handler: Handler, args: Sequence[Any]) -> Ended:
        job.taken_at = time.monotonic()
        job.interruptible = handler.type.interruptible
        if handler.is_async:
            start_clock(job)
        else:
            wait_for_thread(job)
        try:
            set_current_job(CurrentJob(partial(self._context, job)))
            if handler.is_async and not (handler.type.is_activity or self._intercepts):
                result = await handler.function(*args)
            else:
                result = await self._invoker.call(handler, args, job)
        except (asyncio.CancelledError, CancelledError) as error:
            return self.broken_off(job, error)
        except activity._CompleteAsyncError:
            return self._left_open(job)
        except BaseException as error:  # a handler must not end the worker
            if job.timed_out is not None:
                return self.timed_out(job, job.timed_out)
            if handler.type.is_activity:
                log_as_temporal(error)
            return Ended(job, failure=self._failure(error), at=place_of(error, within_handler=True))
        finally:
            stop_clock(job)
        if job.timed_out is not None:  # the handler ignored it
            return self.timed_out(job, job.timed_out)
        return self._returned(job, result)

    def _left_open(self, job: Job) -> Ended:
        if job.timed_out is not None:
            return self.timed_out(job, job.timed_out)
        limit = job.options.start_to_close_timeout
        if limit is not None:
            left = limit.total_seconds() - (time.monotonic() - job.started_at)
            job.left_ms = max(0, round(left * 1000))
        return Ended(job, asynchronous=True)

    def _returned(self, job: Job, result: Any) -> Ended:
        try:
            encoded = self._values.encode((result,))
            if len(encoded) > MAX_OUTCOME_BYTES:
                raise too_large(f"the result of {job.job_type}", len(encoded), MAX_OUTCOME_BYTES)
        except Exception as error:
            return Ended(job, failure=self._failure(error))
        return Ended(job, result=encoded)

    def shut_down(self) -> None:
        """Tell the handlers that the worker begins to stop: `activity.wait_for_worker_shutdown()` returns."""
        self._shutdown.set()

    def broken_off(self, job: Job, error: BaseException) -> Ended:
        """Return the end of an attempt whose task was cancelled.

        Args:
            job: the job.
            error: the cancellation. If it was not requested, it is the handler's own error.
        """
        if job.timed_out is not None:
            return self.timed_out(job, job.timed_out)
        if job.cancel_told:
            return Ended(job, failure=self._failure(CancelledError("Cancelled")))
        if job.given_back or job.lost:
            return Ended(job)
        return Ended(job, failure=self._failure(error), at=place_of(error, within_handler=True))

    async def _arguments(self, data: bytes | None, handler: Handler) -> Sequence[Any]:
        if data is None:
            return ([],) if handler.type.is_dynamic else ()
        if self._codec is not None:
            data = await decode_payloads(data, self._codec)
        if handler.type.is_dynamic:
            return [[RawValue(payload) for payload in Payloads.FromString(data).payloads]]
        return self._values.decode(data, handler.type.arg_types)

    async def _last_heartbeat_details(self, details: bytes) -> Sequence[Any]:
        return self._values.decode(await decode_payloads(details, self._codec), None)

    def _context(self, job: Job) -> JobContext:
        left = None if job.due_at is None else timedelta(seconds=job.due_at - time.monotonic())
        return JobContext(
            job_id=job.job_id,
            job_type=job.job_type,
            queue=self._queue,
            attempt=job.attempt,
            workflow_id=job.row.workflow_id,
            run_id=job.row.run_id,
            enqueued_at=job.enqueued_time(),
            deadline=None if left is None else datetime.now(UTC) + left,
            heartbeat_details=job.last_heartbeat_details,
            logger=JobLogger(job_id=job.job_id, job_type=job.job_type, attempt=job.attempt),
            send_heartbeat=activity.heartbeat if self._intercepts else partial(self._send_heartbeat, job),
            task_token=task_token(job, self._queue),
            is_cancel_requested=lambda: job.cancel_requested or job.is_over,
        )

    def _send_heartbeat(self, job: Job, *details: Any) -> None:
        thread = job.thread
        if thread is not None and (job.timed_out is not None or job.lost):
            running = job.activity
            if running is None or not running.is_shielded:
                raise CancelledError("Cancelled")
        # Converted here, so that the handler gets the error of details that can't be converted.
        job.details = self._converter.payload_converter.to_payloads(details)
        job.details_changed = True
        job.heartbeat_at = time.monotonic()
        if job.cancel_requested and not job.cancel_told and job.task is not None:
            job.task.get_loop().call_soon_threadsafe(job.tell_of_cancellation)

    def timed_out(self, job: Job, timeout_type: TimeoutType) -> Ended:
        """Return the end of an attempt that took too long, whatever its handler did then.

        Args:
            job: the job.
            timeout_type: which limit it exceeded.
        """
        failure = timed_out(timeout_type, self._converter)
        if timeout_type is TimeoutType.HEARTBEAT and job.details:
            failure.timeout_failure_info.last_heartbeat_details.payloads.extend(job.details)
        return Ended(job, failure=within_limit(failure))

    def _failure(self, error: BaseException) -> Failure:
        try:
            return within_limit(failure_of(error, self._converter))
        except Exception as problem:
            unusable = ApplicationError(
                f"the handler raised {type(error).__name__}, which can't be encoded: {type(problem).__name__}",
                type=type(error).__name__,
            )
            return failure_of(unusable, self._converter)

    def _left_to_newer(self, job: Job, problem: str) -> Ended:
        """Snooze the job. A newer worker may take it. The attempt does not count."""
        _log.error("job_snoozed", extra={"job_id": job.job_id, "job_type": job.job_type, "reason": problem})
        self._metrics.snooze.labels("").inc()
        return Ended(job, snooze=_TOO_NEW_SNOOZE)

    def _not_found(self, job: Job) -> ApplicationError:
        """Return the error of Temporal's worker for a type that is not registered."""
        return ApplicationError(
            f"Activity function {job.job_type} for workflow {job.row.workflow_id or ''} is not registered on this "
            f"worker, available activities: {', '.join(sorted(self._handlers))}",
            type="NotFoundError",
        )

    def _refused(self, job: Job, reason: Reason, error: ApplicationError) -> Ended:
        if job.cancel_requested:
            return Ended(job, failure=self._failure(CancelledError("Cancelled")))
        if reason is not Reason.UNKNOWN_TYPE:
            self._metrics.finished.labels(job.job_type, reason).inc()
        return Ended(job, failure=self._failure(error), refusal=reason)


def _meter(client: Client | None) -> MetricMeter:
    if client is None:
        return MetricMeter.noop
    return (client.service_client.config.runtime or Runtime.default()).metric_meter


def _result_label(ended: Ended) -> str:
    if ended.failure is None:
        return "asynchronous" if ended.asynchronous else "released"
    if ended.failure.HasField("canceled_failure_info"):
        return "canceled"
    return "timed_out" if ended.failure.HasField("timeout_failure_info") else "failed"
