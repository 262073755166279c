"""Reports ended attempts to the gateway, in batches, and repeats what it has not answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec
from msgspec import UNSET
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter

from delegator.errors import GatewayError, WireError
from delegator.postgres.dead_letters import Reason
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionPart
from delegator.wire.worker_protocol import TIMEOUTS, Answer, Completion, JobFailure, Release, rejected
from http_workers.attempt import Ended
from http_workers.failure_log import log_failure
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.via.client import BodyTooLargeError, GatewayBusyError, GatewayClient
from http_workers.via.jobs import RemoteJob
from http_workers.via.stored import Stored

_MOST: Final = 200
_PARALLEL: Final = 4
_MOST_BYTES: Final = 4 << 20
"""Of one request; a single entry may have more."""
_ANSWER_SECONDS: Final = 60.0
"""A gateway answers with 503 when it could not write an outcome for 40 seconds."""
_LONGEST_PAUSE: Final = timedelta(seconds=1)
_RELEASE_SECONDS: Final = 10.0
_TIMEOUT_NAMES: Final = {limit: name for name, limit in TIMEOUTS.items()}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Report:
    """What is said about one ended attempt."""

    job: RemoteJob
    route: str
    """`complete`, `fail` or `release`."""
    entry: bytes
    """Encoded."""
    is_final: bool = False
    """Whether no other attempt follows, as far as is known here."""


class Outcomes:
    """Reports ended attempts. While a batch is on its way, the next one gathers."""

    def __init__(
        self,
        *,
        client: GatewayClient,
        converter: DataConverter,
        state: ConnectionPart,
        metrics: WorkerMetrics,
        on_finished: Callable[[Job], None],
        log_messages: bool = False,
    ) -> None:
        """Prepare.

        Args:
            client: of the gateway.
            converter: encodes results and failures.
            state: gets the gateway's health.
            metrics: this process's series.
            on_finished: called when this worker has finished a job.
            log_messages: also log the message and the traceback of a failed attempt.
        """
        self._client = client
        self._stored = Stored(converter)
        self._state = state
        self._metrics = metrics
        self._on_finished = on_finished
        self._log_messages = log_messages
        self._queue: list[Ended] = []
        self._arrived = asyncio.Event()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def backlog(self) -> int:
        """Number of ended attempts that wait for the gateway."""
        return len(self._queue) + self._busy

    @property
    def is_idle(self) -> bool:
        """Whether everything that was added is reported."""
        return self._idle.is_set()

    def add(self, ended: Ended) -> None:
        """Take an ended attempt."""
        self._idle.clear()
        self._queue.append(ended)
        self._arrived.set()

    async def flush(self) -> None:
        """Wait until everything that was added is reported."""
        await self._idle.wait()

    async def run(self) -> None:
        """Report what is added, until cancelled."""
        slots = asyncio.Semaphore(_PARALLEL)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._arrived.wait()
                await slots.acquire()
                batch, self._queue = self._queue[:_MOST], self._queue[_MOST:]
                if not self._queue:
                    self._arrived.clear()
                self._busy += len(batch)
                group.create_task(self._finish(batch, slots), name="report")

    async def _finish(self, batch: Sequence[Ended], slots: asyncio.Semaphore) -> None:
        try:
            reports = [report for ended in batch if (report := await self._report(ended)) is not None]
            while reports:
                reports = await self._deliver(reports)
            self._metrics.finish_size.observe(len(batch))
        except Exception:  # a fault here must not end the worker; the jobs' leases end
            _log.exception("report_failed", extra={"jobs": len(batch)})
        finally:
            slots.release()
            for ended in batch:
                self._on_finished(ended.job)
            self._busy -= len(batch)
            if not self._queue and not self._busy:
                self._idle.set()

    async def _report(self, ended: Ended) -> _Report | None:
        """Return what is said about an attempt; None: nothing, because the job is not this worker's any more."""
        job = ended.job
        if not isinstance(job, RemoteJob) or job.lost:
            return None
        if ended.snooze is not None or ended.released:
            delay = 0.0 if ended.snooze is None else ended.snooze.total_seconds()
            return _release(job, delay)
        if ended.asynchronous:
            ended.failure = _not_here()
        if ended.failure is None:
            done = Completion(job.token, payloads=self._stored.result(ended), by_signal=job.asked_for_client)
            return _Report(job, "complete", msgspec.json.encode(done), is_final=True)
        log_failure(job, ended.failure, ended.at, log_messages=self._log_messages)
        return _Report(job, "fail", msgspec.json.encode(await self._failure(job, ended, ended.failure)))

    async def _failure(self, job: RemoteJob, ended: Ended, failure: Failure) -> JobFailure:
        if job.cancel_requested and failure.HasField("canceled_failure_info"):
            return JobFailure(job.token, canceled=True, by_signal=job.asked_for_client)
        details = await self._stored.details(job)
        heartbeat = UNSET if details is None else details
        if job.timed_out is not None and failure.HasField("timeout_failure_info"):
            limit = _TIMEOUT_NAMES[job.timed_out]
            return JobFailure(job.token, timed_out=limit, heartbeat=heartbeat, by_signal=job.asked_for_client)
        return JobFailure(
            job.token,
            failure=await self._stored.failure(job, failure),
            refused=ended.refusal.value if ended.refusal in (Reason.UNDECODABLE, Reason.LOCKED) else None,
            heartbeat=heartbeat,
            by_signal=job.asked_for_client,
        )

    async def _deliver(self, reports: Sequence[_Report]) -> list[_Report]:
        """Send reports. Return what is to be said instead of those that the gateway rejects."""
        instead: list[_Report] = []
        for route in ("complete", "fail", "release"):
            for chunk in _chunks([report for report in reports if report.route == route]):
                answers = await self._send(route, chunk)
                for report, answer in zip(chunk, answers, strict=True):
                    if answer.status == "rejected":
                        instead += _after_rejection(report, answer)
                    elif answer.status == "lost":
                        self._metrics.fenced.inc()
                        extra = {"job_id": report.job.job_id, "job_type": report.job.job_type}
                        _log.warning("job_lost", extra=extra)
                    elif report.is_final:
                        self._metrics.batch_finished(1, [report.job])
        return instead

    async def _send(self, route: str, reports: Sequence[_Report]) -> list[Answer]:
        """Send reports, and repeat that until the gateway answers. A repetition changes nothing."""
        backoff = Backoff(longest=_LONGEST_PAUSE)
        while True:
            try:
                answers = await self._client.send(route, [report.entry for report in reports], _ANSWER_SECONDS)
            except BodyTooLargeError as error:
                if len(reports) == 1:
                    return [rejected("body-too-large", str(error))]
                half = len(reports) // 2
                return await self._send(route, reports[:half]) + await self._send(route, reports[half:])
            except GatewayBusyError as error:
                self._state.lost(str(error))
                await asyncio.sleep(error.seconds)
            except (GatewayError, WireError) as error:
                self._state.lost(str(error))
                await backoff.sleep()
            else:
                self._state.restored()
                return answers


def _chunks(reports: Sequence[_Report]) -> Iterable[list[_Report]]:
    chunk: list[_Report] = []
    size = 0
    for report in reports:
        if chunk and size + len(report.entry) > _MOST_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(report)
        size += len(report.entry)
    if chunk:
        yield chunk


def _after_rejection(report: _Report, answer: Answer) -> list[_Report]:
    """Return what is said instead: a failure for a result, and for a failure that another worker may take the job."""
    job = report.job
    extra = {"job_id": job.job_id, "job_type": job.job_type, "reason": answer.code, "detail": answer.detail}
    _log.error("outcome_rejected", extra=extra)
    if report.route == "complete":
        failure = JobFailure(
            job.token, type="OutcomeRejected", message=f"the gateway rejects the result: {answer.code}"
        )
        return [_Report(job, "fail", msgspec.json.encode(failure))]
    return [_release(job, _RELEASE_SECONDS)] if report.route == "fail" else []


def _release(job: RemoteJob, seconds: float) -> _Report:
    return _Report(job, "release", msgspec.json.encode(Release(job.token, seconds)))


def _not_here() -> Failure:
    """Return the failure of a handler that leaves its completion to a client."""
    failure = Failure(
        message="a handler can't be completed asynchronously in an http-worker with --via: return a result"
    )
    failure.application_failure_info.type = "AsynchronousCompletionError"
    failure.application_failure_info.non_retryable = True
    return failure
