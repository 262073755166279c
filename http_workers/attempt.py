"""Runs one attempt: decodes the arguments, calls the handler, encodes the result."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
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

from delegator.completion.failures import (
    MAX_OUTCOME_BYTES,
    canceled,
    failure_of,
    result_too_large,
    timed_out,
    within_limit,
)
from delegator.context import CurrentJob, JobContext, JobLogger, set_current_job
from delegator.contracts import DYNAMIC_TYPE, Handler
from delegator.errors import UnreadablePayloadError, WireError
from delegator.operating.canary_type import CANARY
from delegator.postgres.dead_letters import Reason
from delegator.runtime.logs import place_of
from delegator.wire.codec import decode_header, decode_payloads, encode_payloads
from delegator.wire.contexts import Conversion, Conversions
from delegator.wire.probe import ProbeReader
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
    stored: bytes | None = None
    """The result in the form that is stored; None: nothing encodes it."""
    failure: Failure | None = None
    """What went wrong, if it failed, was canceled or timed out."""
    refusal: Reason | None = None
    """Why this worker could not begin the attempt; another one may. None: it began, or was snoozed."""

    counted_as: str = ""
    """The `job_type` of the series that count a refusal; empty: this worker has no handler for the type."""

    problem: str = ""
    """Why this worker can't read what the job holds, in the engine's own words; empty: others' words say it."""

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
        *,
        on_task_heartbeat: Callable[[Job], None] | None = None,
        on_client: Callable[[Job], None] | None = None,
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
            on_task_heartbeat: called with the job of an activity task at each of its heartbeats, in the handler's
                thread; None: activity tasks do not run here.
            on_client: called with a job that a process waits for inline, when its handler asks for the client. Perhaps
                it is not called in the event loop.
        """
        self._handlers = handlers
        self._dynamic = handlers.get(DYNAMIC_TYPE)
        self._shutdown = shutdown_event()
        self._conversions = Conversions(converter)
        self._probes = ProbeReader(converter.payload_codec)
        surroundings = ActivitySurroundings(converter.payload_converter, client, _meter(client), self._shutdown)
        self._invoker = Invoker(surroundings, threads, queue, self._send_heartbeat, interceptors, on_client)
        self._intercepts = bool(interceptors)
        self._on_task_heartbeat = on_task_heartbeat
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
            args = await self._read(job, handler)
        except asyncio.CancelledError as error:
            return self.broken_off(job, error)
        except Exception as error:
            # The type and the words are those of Temporal's worker.
            undecodable = ApplicationError("Failed decoding arguments")
            undecodable.__cause__ = error
            problem = str(error) if isinstance(error, WireError) else ""
            reason = Reason.LOCKED if isinstance(error, UnreadablePayloadError) else Reason.UNDECODABLE
            return self._refused(job, reason, undecodable, problem)
        if job.cancel_requested:
            return Ended(job, failure=canceled())
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
        if not handler.type.interruptible:
            job.interruptible = False
        if handler.is_async:
            start_clock(job)
        else:
            wait_for_thread(job)
        try:
            set_current_job(CurrentJob(partial(self._context, job)))
            if handler.is_async and not (handler.type.in_activity_context or self._intercepts):
                result = await handler.function(*args)
            else:
                result = await self._invoker.call(handler, args, job)
            if job.timed_out is not None:  # the handler ignored it
                return self.timed_out(job, job.timed_out)
            return await self._returned(job, result)
        except (asyncio.CancelledError, CancelledError) as error:
            return self.broken_off(job, error)
        except activity._CompleteAsyncError:
            return self._left_open(job)
        except BaseException as error:  # a handler must not end the worker
            return self._raised(job, handler, error)
        finally:
            if job.due_at is not None or job.activity is not None:
                stop_clock(job)

    def _raised(self, job: Job, handler: Handler, error: BaseException) -> Ended:
        if job.timed_out is not None:
            return self.timed_out(job, job.timed_out)
        if handler.type.is_activity:
            log_as_temporal(error)
        return Ended(job, failure=self._failure(job, error), at=place_of(error, within_handler=True))

    def _left_open(self, job: Job) -> Ended:
        if job.timed_out is not None:
            return self.timed_out(job, job.timed_out)
        limit = job.options.start_to_close_timeout
        if limit is not None:
            left = limit.total_seconds() - (time.monotonic() - job.started_at)
            job.left_ms = max(0, round(left * 1000))
        return Ended(job, asynchronous=True)

    async def _returned(self, job: Job, result: Any) -> Ended:
        """Return the end of an attempt that has a result. It raises what the data converter raises."""
        conversion = self._conversion(job)
        encoded = conversion.values.encode((result,))
        if conversion.codec is None:
            stored, size = None, len(encoded)
        else:
            stored = await encode_payloads(encoded, conversion.codec)
            size = len(stored)
        if size > MAX_OUTCOME_BYTES:
            return Ended(job, failure=result_too_large())
        return Ended(job, result=encoded, stored=stored)

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
            return Ended(job, failure=canceled())
        if job.stopped is not None:
            return Ended(job, failure=self._failure(job, _unhandled(job.stopped)))
        if job.given_back or job.lost:
            return Ended(job)
        return Ended(job, failure=self._failure(job, error), at=place_of(error, within_handler=True))

    def _conversion(self, job: Job) -> Conversion:
        return self._conversions.shared if job.conversion is None else job.conversion

    async def _read(self, job: Job, handler: Handler) -> Sequence[Any]:
        """Return the arguments, and decode what else the client and an earlier attempt have encoded."""
        row = job.row
        if self._conversions.uses_contexts:
            job.conversion = self._conversions.of_row(row)
        conversion = self._conversion(job)
        if self._probes.applies(row.options) and (problem := await self._probes.problem(row.options)):
            raise UnreadablePayloadError(problem)
        if row.header is not None:
            job.row = row._replace(header=await decode_header(row.header, conversion.codec))
        if row.heartbeat_details is not None:
            job.earlier_details = await decode_payloads(row.heartbeat_details, conversion.codec)
            job.last_heartbeat_details = conversion.values.decode(job.earlier_details, None)
        if row.input is None:
            return ([],) if handler.type.is_dynamic else ()
        data = row.input if conversion.codec is None else await decode_payloads(row.input, conversion.codec)
        if handler.type.is_dynamic:
            return [[RawValue(payload) for payload in Payloads.FromString(data).payloads]]
        return conversion.values.decode(data, handler.type.arg_types)

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
        job.details = self._conversion(job).converter.payload_converter.to_payloads(details)
        job.details_changed = True
        job.heartbeat_at = time.monotonic()
        if job.row.task_token is not None and self._on_task_heartbeat is not None:
            self._on_task_heartbeat(job)
        if job.cancel_requested and not job.cancel_told and job.task is not None:
            job.task.get_loop().call_soon_threadsafe(job.tell_of_cancellation)

    def timed_out(self, job: Job, timeout_type: TimeoutType) -> Ended:
        """Return the end of an attempt that took too long, whatever its handler did then.

        Args:
            job: the job.
            timeout_type: which limit it exceeded.
        """
        details = job.details if job.details is not None else Payloads.FromString(job.earlier_details).payloads
        return Ended(job, failure=within_limit(timed_out(timeout_type, details)))

    def _failure(self, job: Job, error: BaseException) -> Failure:
        return within_limit(failure_of(error, self._conversion(job).converter))

    def _left_to_newer(self, job: Job, problem: str) -> Ended:
        """Snooze the job. A newer worker may take it. The attempt does not count."""
        _log.error("job_snoozed", extra={"job_id": job.job_id, "job_type": job.job_type, "reason": problem})
        self._metrics.snooze.labels("").inc()
        return Ended(job, snooze=_TOO_NEW_SNOOZE)

    def _not_found(self, job: Job) -> ApplicationError:
        """Return the error of Temporal's worker for a type that is not registered."""
        return ApplicationError(
            f"Activity function {job.job_type} for workflow {job.row.workflow_id or ''} is not registered on this "
            f"worker, available activities: {', '.join(sorted(self._handlers.keys() - {CANARY}))}",
            type="NotFoundError",
        )

    def _refused(self, job: Job, reason: Reason, error: ApplicationError, problem: str = "") -> Ended:
        if job.cancel_requested:
            return Ended(job, failure=canceled())
        name = ""
        if reason is not Reason.UNKNOWN_TYPE:
            # A dynamic handler gets any number of names, and they are no labels.
            name = job.job_type if job.job_type in self._handlers else DYNAMIC_TYPE
            self._metrics.finished.labels(name, reason).inc()
        return Ended(job, failure=self._failure(job, error), refusal=reason, counted_as=name, problem=problem)


def _unhandled(stopped: activity.ActivityCancellationDetails) -> ApplicationError:
    """Return the failure that Temporal's worker reports for an activity that its pause or its reset has ended."""
    how = "reset" if stopped.reset else "pause"
    return ApplicationError(
        f"Unhandled activity cancel error produced by activity {how}", type=f"Activity{how.capitalize()}"
    )


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
