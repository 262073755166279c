"""Runs one attempt: decodes the arguments, calls the handler, encodes the result."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutType

from delegator.completion.failures import (
    MAX_OUTCOME_BYTES,
    canceled,
    failure_of,
    result_too_large,
    timed_out,
    within_limit,
)
from delegator.context import CurrentJob, JobContext, JobLogger, set_current_job
from delegator.contracts import Handler
from delegator.errors import WireError
from delegator.postgres.dead_letters import Reason
from delegator.runtime.logs import place_of
from delegator.wire.codec import decode_header, decode_payloads, encode_payloads
from delegator.wire.contexts import Conversion, Conversions
from delegator.wire.probe import ProbeReader
from http_workers.activity_context import activity_environment
from http_workers.job import Job, origin_of
from http_workers.metrics import WorkerMetrics

LEAST_WATCHED_SECONDS: Final = 1.0
"""A shorter limit has its own timer, which costs as much as the rest of a short attempt. The monitor, which
looks ten times a second, enforces the longer limits."""

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

    problem: str = ""
    """Why this worker can't read what the job holds, in the engine's own words; empty: others' words say it."""

    snooze: timedelta | None = None
    """How long the job is snoozed, by its type's limits or because its row is too new. None: the attempt began."""

    at: str = ""
    """Where the handler raised its error, as `place_of` returns it; empty: it raised none."""

    forgotten: bool = False
    """The worker does not hold the job any more."""

    @property
    def released(self) -> bool:
        """Whether this worker's stop broke the attempt off. Other workers run the job."""
        return self.result is None and self.failure is None and self.snooze is None


class AttemptRunner:
    """Runs attempts with the handlers of this worker."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        converter: DataConverter,
        queue: str,
        metrics: WorkerMetrics,
        threads: Executor | None = None,
    ) -> None:
        """Prepare the runner.

        Args:
            handlers: by delegated activity type.
            converter: decodes arguments, encodes results and failures.
            queue: the queue served.
            metrics: this process's series.
            threads: runs plain functions; None: the event loop's default executor.
        """
        self._handlers = handlers
        self._threads = threads
        self._conversions = Conversions(converter)
        self._probes = ProbeReader(converter.payload_codec)
        self._queue = queue
        self._metrics = metrics
        self._series = {
            name: (
                metrics.run_seconds.labels(name),
                metrics.finished.labels(name, "completed"),
            )
            for name in handlers
        }

    async def run(self, job: Job) -> Ended:
        """Run one attempt. It does not raise."""
        if job.too_new is not None:
            return self._left_to_newer(job, job.too_new)
        handler = self._handlers.get(job.job_type)
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
            return self._refused(job, Reason.UNDECODABLE, undecodable, problem)
        if job.cancel_requested:
            return Ended(job, failure=canceled())
        seconds, completed = self._series[job.job_type]
        job.started_at = job.heartbeat_at = time.monotonic()
        ended = await self._call(job, handler, args)
        seconds.observe(time.monotonic() - job.started_at)
        if ended.result is not None:
            completed.inc()
        else:
            self._metrics.finished.labels(job.job_type, _result_label(ended)).inc()
        return ended

    async def _call(self, job: Job, handler: Handler, args: Sequence[Any]) -> Ended:
        limit, job.due_timeout_type = _limit(job)
        current = CurrentJob(lambda: self._context(job, limit))
        timer = None
        if limit is not None:
            job.due_at = job.started_at + limit
            if limit < LEAST_WATCHED_SECONDS:
                timer = asyncio.get_running_loop().call_later(limit, job.time_out, job.due_timeout_type)
        try:
            set_current_job(current)
            if handler.is_async and not handler.type.is_activity:
                result = await handler.function(*args)
            else:
                result = await self._invoke(handler, args, job, current)
            return await self._completed(job, result)
        except (asyncio.CancelledError, CancelledError) as error:
            return self.broken_off(job, error)
        except BaseException as error:  # a handler must not end the worker
            return Ended(job, failure=self._failure(job, error), at=place_of(error, within_handler=True))
        finally:
            job.due_at = None
            if timer is not None:
                timer.cancel()

    async def _completed(self, job: Job, result: Any) -> Ended:
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

    async def _invoke(self, handler: Handler, args: Sequence[Any], job: Job, current: CurrentJob) -> Any:
        if handler.type.is_activity:
            payload_converter = self._conversion(job).converter.payload_converter
            environment = activity_environment(job, current.context, payload_converter)
            if handler.is_async:
                return await environment.run(handler.function, *args)
            return await self._in_thread(environment.run, handler.function, *args)
        return await self._in_thread(handler.function, *args)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Like `asyncio.to_thread`, in the worker's own threads."""
        call = partial(copy_context().run, function, *args)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def broken_off(self, job: Job, error: BaseException) -> Ended:
        """Return the end of an attempt whose task was cancelled.

        Args:
            job: the job.
            error: the cancellation. If it was not requested, it is the handler's own error.
        """
        if job.timed_out is not None:
            return Ended(job, failure=self._timeout(job, job.timed_out))
        if job.cancel_requested:
            return Ended(job, failure=canceled())
        if job.given_back or job.lost:
            return Ended(job)
        return Ended(job, failure=self._failure(job, error), at=place_of(error, within_handler=True))

    def _conversion(self, job: Job) -> Conversion:
        return self._conversions.shared if job.conversion is None else job.conversion

    async def _read(self, job: Job, handler: Handler) -> Sequence[Any]:
        """Return the arguments, and decode what else the client and an earlier attempt have encoded."""
        row = job.row
        if self._conversions.uses_contexts:
            job.conversion = self._conversions.of(origin_of(row))
        conversion = self._conversion(job)
        if self._probes.applies(row.options) and (problem := await self._probes.problem(row.options)):
            raise WireError(problem)
        if row.header is not None:
            job.row = row._replace(header=await decode_header(row.header, conversion.codec))
        if row.heartbeat_details is not None:
            job.earlier_details = await decode_payloads(row.heartbeat_details, conversion.codec)
            job.last_heartbeat_details = conversion.values.decode(job.earlier_details, None)
        if row.input is None:
            return ()
        data = row.input if conversion.codec is None else await decode_payloads(row.input, conversion.codec)
        return conversion.values.decode(data, handler.type.arg_types)

    def _context(self, job: Job, limit: float | None) -> JobContext:
        def send_heartbeat(*details: Any) -> None:
            # Converted here, so that the handler gets the error of details that can't be converted.
            job.details = self._conversion(job).converter.payload_converter.to_payloads(details)
            job.details_changed = True
            job.heartbeat_at = time.monotonic()

        left = None if limit is None else timedelta(seconds=job.started_at + limit - time.monotonic())
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
            send_heartbeat=send_heartbeat,
            is_cancel_requested=lambda: job.cancel_requested,
        )

    @staticmethod
    def _timeout(job: Job, timeout_type: TimeoutType) -> Failure:
        details = job.details if job.details is not None else Payloads.FromString(job.earlier_details).payloads
        return within_limit(timed_out(timeout_type, details))

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
            f"worker, available activities: {', '.join(sorted(self._handlers))}",
            type="NotFoundError",
        )

    def _refused(self, job: Job, reason: Reason, error: ApplicationError, problem: str = "") -> Ended:
        if job.cancel_requested:
            return Ended(job, failure=canceled())
        if reason is not Reason.UNKNOWN_TYPE:
            self._metrics.finished.labels(job.job_type, reason).inc()
        return Ended(job, failure=self._failure(job, error), refusal=reason, problem=problem)


def _limit(job: Job) -> tuple[float | None, TimeoutType]:
    timeout = job.options.start_to_close_timeout
    limit = None if timeout is None else timeout.total_seconds()
    if job.deadline is None:
        return limit, TimeoutType.START_TO_CLOSE
    left = max(0.0, job.deadline - time.monotonic())
    if limit is None or left < limit:
        return left, TimeoutType.SCHEDULE_TO_CLOSE
    return limit, TimeoutType.START_TO_CLOSE


def _result_label(ended: Ended) -> str:
    if ended.failure is None:
        return "released"
    if ended.failure.HasField("canceled_failure_info"):
        return "canceled"
    return "timed_out" if ended.failure.HasField("timeout_failure_info") else "failed"
