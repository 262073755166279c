"""A job in a worker: its row as it was claimed, and its state here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from delegator_schema.columns import FORMAT_VERSION
from temporalio.activity import ActivityCancellationDetails
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import TimeoutType

from delegator.contracts import DEFAULT_OPTIONS
from delegator.errors import WireError
from delegator.postgres.queue_table import Claimed
from delegator.wire.contexts import Conversion
from delegator.wire.lost_attempts import lost_in_a_row
from delegator.wire.options import decode_options
from delegator.wire.rows import row_problem
from http_workers.activity_context import RunningActivity


class Job:
    """One job that this worker holds."""

    # Defaults of the class, because most jobs never change them.
    broken: str | None = None
    """Why the job can't run; None: it can."""
    lost_in_a_row: int = 0
    """How many of its last attempts ended with the death of their worker, one after another."""
    too_new: str | None = None
    """Why only a newer release can read the row; None: this release can."""
    conversion: Conversion | None = None
    """How its payloads are converted and encoded; None: as those of all jobs."""
    last_heartbeat_details: Sequence[object] = ()
    earlier_details: bytes = b""
    """The same, as a serialized `Payloads`, not encoded by the codec."""
    deadline: float | None = None
    """Monotonic time of the job's deadline; None: it has none."""
    claimed_at: float
    """Monotonic time of the claim."""
    taken_at: float = 0.0
    """Monotonic time at which an attempt was begun; 0: it was not."""
    started_at: float = 0.0
    """Monotonic time at which the handler began to run; 0: it does not run, or it waits for a thread."""
    due_at: float | None = None
    """Monotonic time at which the attempt times out; None: it does not, or there is none."""
    due_timeout_type: TimeoutType = TimeoutType.START_TO_CLOSE
    timer: asyncio.TimerHandle | None = None
    """Times out an attempt whose limit is short."""
    task: asyncio.Task[None] | None = None
    begun: bool = False
    """Whether the task has begun. A task that is cancelled before that never runs its cleanup."""
    thread: Future[Any] | None = None
    """The call of a plain function, while it waits for a thread or runs in one; None: the handler is none."""
    activity: RunningActivity | None = None
    """What the attempt tells the functions of `temporalio.activity`; None: the handler does not use them."""
    interruptible: bool = True
    """Whether a cancellation interrupts the handler at once. Otherwise its next heartbeat tells it."""
    heartbeat_at: float = 0.0
    details: Sequence[Payload] | None = None
    """Details of this attempt's last heartbeat; None: there was none."""
    details_changed: bool = False
    is_beating: bool = False
    """Whether heartbeats of an activity task are being sent."""
    asked_for_client: bool = False
    """Whether the handler has asked for Temporal's client. The outcome goes by signal then, behind what it sends."""
    stopped: ActivityCancellationDetails | None = None
    """How somebody has stopped the activity task by Temporal's API; None: nobody has."""
    cancel_told: bool = False
    """Whether the handler was told of a cancellation request."""
    lost: bool = False
    """Whether the lease is lost. Another worker may run the job, and the outcome of this attempt is dropped."""
    given_back: bool = False
    """Whether this worker stops and gives the job to others."""
    timed_out: TimeoutType | None = None
    """The timeout that ended the attempt; None: there was none."""
    timed_out_at: float = 0.0
    """Monotonic time of the timeout."""
    left_ms: int | None = None
    """Milliseconds until the start-to-close timeout, when the handler left the attempt to a client."""
    reported: bool = False
    """Whether the attempt's timeout was reported while its handler still ran. What the handler returns is dropped."""

    def __init__(self, claimed: Claimed) -> None:
        """Take the values of the row. Options that can't be decoded make the job `broken`."""
        self.row = claimed
        self.job_id, self.fencing_token, self.attempt, self.job_type, *_ = claimed
        self.cancel_requested = claimed.cancel_requested
        self.options = DEFAULT_OPTIONS
        if claimed.format_version > FORMAT_VERSION:
            self.too_new = row_problem(claimed.format_version)
        elif claimed.options is not None:
            try:
                self.options = decode_options(claimed.options)
            except WireError:
                self.broken = "the job's options can't be read"
            if claimed.attempt > 2:
                self.lost_in_a_row = lost_in_a_row(claimed.options)
        self.claimed_at = time.monotonic()
        if claimed.deadline_ms is not None:
            self.deadline = self.claimed_at + claimed.deadline_ms / 1000

    @property
    def is_ours(self) -> bool:
        """Whether this worker may run the job."""
        return not (self.lost or self.given_back)

    @property
    def is_over(self) -> bool:
        """Whether the attempt is over, though its handler may still run."""
        return self.timed_out is not None or not self.is_ours

    def lose(self) -> None:
        """Break the attempt off because another worker may run the job."""
        self.lost = True
        self._break_off(ActivityCancellationDetails(not_found=True))

    def time_out(self, timeout_type: TimeoutType) -> None:
        """Break the attempt off because it has taken too long."""
        if self.timed_out is None:
            self.timed_out = timeout_type
            self.timed_out_at = time.monotonic()
            self._break_off(ActivityCancellationDetails(not_found=True, timed_out=True))

    def give_back(self) -> None:
        """Ask the handler to end because the worker stops."""
        self.given_back = True
        self._interrupt(ActivityCancellationDetails(worker_shutdown=True))

    def request_cancel(self) -> None:
        """Note that the workflow asked the job to stop. The handler is told, or its next heartbeat will tell it."""
        self.cancel_requested = True
        if self.interruptible:
            self.tell_of_cancellation()

    def tell_of_cancellation(self) -> None:
        """Tell the handler that the workflow asked the job to stop. What follows is the handler's decision."""
        if not self.cancel_told:
            self.cancel_told = True
            self._interrupt(ActivityCancellationDetails(cancel_requested=True))

    def tell_of_stop(self, details: ActivityCancellationDetails) -> None:
        """Tell the handler that somebody paused or reset the activity task. What follows is the handler's decision."""
        if self.stopped is None and not self.cancel_told:
            self.stopped = details
            self._interrupt(details)

    def abandon(self) -> None:
        """End the attempt of a handler that does not end. An attempt that has not begun checks `is_ours` first."""
        if self.task is not None and self.begun:
            self.task.cancel()

    def _interrupt(self, details: ActivityCancellationDetails) -> None:
        if self.activity is not None:
            self.activity.tell(details)
        if self.thread is None or not self.started_at:  # a thread gets an exception, and ends by itself
            self.abandon()

    def _break_off(self, details: ActivityCancellationDetails) -> None:
        if self.activity is not None:
            self.activity.tell(details)
        self.abandon()

    @property
    def held(self) -> tuple[str, int]:
        """Job id and fencing token, in the form of the statements."""
        return self.job_id, self.fencing_token

    def age_seconds(self, monotonic: float, now: float) -> float:
        """Return the time since the job was first enqueued.

        In its first attempt only durations are added, by the database's clock until the claim. Later attempts need the
        clock of this machine, too.

        Args:
            monotonic: the time by `time.monotonic`.
            now: the time by `time.time`.
        """
        since_published = self.row.waited_seconds + monotonic - self.claimed_at
        return since_published if self.attempt <= 1 else max(since_published, now - self.row.enqueued_at)

    def enqueued_time(self) -> datetime:
        """Return when the job was first enqueued."""
        return datetime.fromtimestamp(self.row.enqueued_at, UTC)
