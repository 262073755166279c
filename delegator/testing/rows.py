"""A job inside the in-memory engine, and who waits for it: what rows of the queue's table are in production."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from delegator_schema.options import PRIORITY_KEY, SCHEDULE_TO_CLOSE_MS, SCHEDULE_TO_START_MS, START_DELAY_MS
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter

from delegator.postgres.queue_table import Claimed
from delegator.testing.records import AttemptRecord, Delivery, JobRecord, JobStatus
from delegator.wire.contexts import Conversions, JobOrigin, row_origin
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.values import ValueConverter
from http_workers.job import Job

_DEFAULT_PRIORITY = 3
_STATUSES = {
    OutcomeStatus.COMPLETED: JobStatus.COMPLETED,
    OutcomeStatus.FAILED: JobStatus.FAILED,
    OutcomeStatus.CANCELED: JobStatus.CANCELED,
}


class WatchedJob(Job):
    """A job that remembers all heartbeats of its attempt, not only the last one."""

    def __init__(self, claimed: Claimed) -> None:
        """Begin without heartbeats."""
        self.heartbeats: list[Sequence[Payload]] = []
        super().__init__(claimed)

    @property
    def details(self) -> Sequence[Payload] | None:
        """The last heartbeat's details; None: there was no heartbeat."""
        return self.heartbeats[-1] if self.heartbeats else None

    @details.setter
    def details(self, details: Sequence[Payload] | None) -> None:
        if details is not None:
            self.heartbeats.append(details)


class InlineWait:
    """Waits for the outcomes of some rows."""

    def __init__(self) -> None:
        """Start without rows."""
        self._missing = 0
        self._all_arrived = asyncio.Event()

    def add(self) -> None:
        """Wait for one more row."""
        self._missing += 1

    def arrived(self) -> None:
        """Take note of an outcome."""
        self._missing -= 1
        if not self._missing:
            self._all_arrived.set()

    async def wait(self, timeout: float | None) -> None:
        """Wait until all outcomes are there, or for `timeout` seconds; None: as long as it takes."""
        if self._missing:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._all_arrived.wait()


@dataclass(slots=True, eq=False)
class Row:
    """A job, from enqueue to outcome."""

    job_id: str
    job_type: str
    queue: str
    input: bytes
    """The arguments, through the codec."""
    plain_input: bytes
    """The arguments, not through the codec."""
    header: bytes = b""
    options: dict[str, Any] | None = None
    """In the form of the `options` column."""
    namespace: str | None = None
    workflow_id: str | None = None
    run_id: str | None = None
    waiter: InlineWait | None = None
    """Who waits for the outcome; None: a signal brings it."""
    is_left_to_signal: bool = False
    """Never waited for inline again."""
    enqueued_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    """When it was enqueued, by the clock of the deadlines."""
    delay_was_skipped: bool = False
    """The time of its start delay counts as over."""
    paused_at: float | None = None
    """Since when it is paused, by the clock of the deadlines; None: it is not."""
    paused_seconds: float = 0.0
    """For how long it was paused before. Its deadline is so much later."""
    resumes_at: float | None = None
    """If it backed off when it was paused: when its next attempt is due, by the event loop's clock."""
    attempt: int = 0
    heartbeat_details: bytes | None = None
    last_details: Sequence[Payload] = ()
    """The details of the last heartbeat, not through the codec."""
    last_failure: Failure | None = None
    cancel_requested: bool = False
    job: WatchedJob | None = None
    """The attempt that is under way."""
    timer: asyncio.TimerHandle | None = None
    """Begins an attempt after a delay, or times a waiting job or an open attempt out."""
    is_left_open: bool = False
    """Whether the handler has left the attempt to a client."""
    open_until: float | None = None
    """When such an attempt exceeds its start-to-close timeout, by the monotonic clock; None: never."""
    status: JobStatus = JobStatus.WAITING
    outcome: Outcome | None = None
    dead_letter: str | None = None
    delivery: Delivery | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)

    def origin(self) -> JobOrigin:
        """Return what a serialization context says of the job."""
        return row_origin(
            job_id=self.job_id,
            job_type=self.job_type,
            namespace=self.namespace,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            options=orjson.dumps(self.options).decode(),
        )

    @property
    def priority(self) -> int:
        """The job's priority key; lower ones run first."""
        return int((self.options or {}).get(PRIORITY_KEY, _DEFAULT_PRIORITY))

    @property
    def start_delay(self) -> float:
        """How many seconds its first attempt is put off."""
        return float((self.options or {}).get(START_DELAY_MS, 0)) / 1000

    def due_at(self) -> float | None:
        """Return when the job times out by the monotonic clock; None: never."""
        options = self.options or {}
        keys = [SCHEDULE_TO_CLOSE_MS]
        if not self.attempt:
            keys.append(SCHEDULE_TO_START_MS)
        due_ms = [options[key] for key in keys if options.get(key)]
        began = self.started + self.start_delay + self.paused_seconds
        return began + min(due_ms) / 1000 if due_ms else None

    @property
    def is_in_time(self) -> bool:
        """Whether it has not ended and its deadline is not over. A paused job's stands still."""
        due_at = self.due_at()
        now = time.monotonic() if self.paused_at is None else self.paused_at
        return self.outcome is None and (due_at is None or due_at > now)

    @property
    def is_retried(self) -> bool:
        """Whether it has failed and is tried again."""
        return self.outcome is None and self.last_failure is not None

    @staticmethod
    def time_left(due_at: float) -> timedelta:
        """Return the time until a moment of the monotonic clock."""
        return timedelta(seconds=due_at - time.monotonic())

    @property
    def activity_id(self) -> str:
        """The caller's id of the activity, or the job's id."""
        own = (self.options or {}).get("activity_id")
        return own if isinstance(own, str) else self.job_id

    def claim(self) -> WatchedJob:
        """Return the row as a worker's claim returns it, with the next attempt's number."""
        self.attempt += 1
        due_at = self.due_at()
        return WatchedJob(
            Claimed(
                job_id=self.job_id,
                fencing_token=self.attempt,
                attempt=self.attempt,
                job_type=self.job_type,
                input=self.input or None,
                header=self.header or None,
                options=orjson.dumps(self.options).decode() if self.options else None,
                namespace=self.namespace,
                workflow_id=self.workflow_id,
                run_id=self.run_id,
                task_token=None,
                enqueued_at=self.enqueued_at,
                heartbeat_details=self.heartbeat_details,
                cancel_requested=self.cancel_requested,
                has_waiter=self.waiter is not None,
                deadline_ms=None if due_at is None else int((due_at - time.monotonic()) * 1000),
                waited_seconds=0.0,
            )
        )

    def leave_to_signal(self) -> None:
        """Have an outcome that is not there yet signalled, though somebody may wait for it inline."""
        if self.outcome is None:
            self.is_left_to_signal = True
            waiter, self.waiter = self.waiter, None
            if waiter is not None:
                waiter.arrived()

    def stop_timer(self) -> None:
        """Neither begin the next attempt nor time the job out."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def resolve(self, outcome: Outcome) -> None:
        """Store the outcome. A job has one."""
        self.stop_timer()
        self.outcome = outcome
        self.status = _STATUSES[outcome.status]

    def record(self, converter: DataConverter, arg_types: Sequence[Any] | None, return_type: Any) -> JobRecord:
        """Return what a test sees of the job.

        Args:
            converter: decodes arguments, result and error.
            arg_types: of the delegated activity type; None: not known.
            return_type: likewise.
        """
        values = Conversions(converter).of(self.origin()).values
        args: Sequence[Any] = ()
        with suppress(Exception):  # arguments that can't be decoded are what some tests are about
            args = values.decode(self.plain_input, arg_types) if self.plain_input else ()
        return JobRecord(
            job_id=self.job_id,
            job_type=self.job_type,
            queue=self.queue,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            args=args,
            status=self.status,
            attempts=tuple(self.attempts),
            result=self._result(values, return_type),
            error=self.error(converter),
            delivery=self.delivery,
            dead_letter=self.dead_letter,
            cancel_requested=self.cancel_requested,
            is_awaited=self.outcome is None and self.waiter is not None,
        )

    def _result(self, values: ValueConverter, return_type: Any) -> Any:
        if self.outcome is None or self.outcome.status is not OutcomeStatus.COMPLETED:
            return None
        results = values.decode(self.outcome.body, None if return_type is None else [return_type])
        return results[0] if results else None

    def error(self, converter: DataConverter) -> BaseException | None:
        """Return what the workflow is told if the job failed or was canceled."""
        if self.outcome is None or self.outcome.status is OutcomeStatus.COMPLETED:
            return None
        failure = Failure.FromString(self.outcome.body)
        converter = Conversions(converter).of(self.origin()).converter
        return converter.failure_converter.from_failure(failure, converter.payload_converter)
