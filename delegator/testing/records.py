"""What a test can see of the jobs that were run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    """Nobody has taken it yet: the engine is paused, or its start delay is not over."""
    RUNNING = "running"
    """Its handler runs, or waits for the limits of its type."""
    BACKING_OFF = "backing_off"
    """An attempt has failed, and the next one is not due."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class AttemptStatus(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    RELEASED = "released"
    """It was broken off because the worker stopped; it does not count."""


class Delivery(StrEnum):
    """How the outcome of a job reached its workflow."""

    INLINE = "inline"
    """As the result of the local activity that enqueued the job."""
    SIGNAL = "signal"
    """By a signal."""
    ORPHANED = "orphaned"
    """Not at all: the workflow had closed."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt that has ended."""

    number: int
    """1 for the first attempt."""
    status: AttemptStatus
    """How it ended."""
    error: BaseException | None
    """What went wrong, as Temporal's failure converter shows it; None: nothing did."""
    heartbeats: Sequence[tuple[Any, ...]]
    """The details of each heartbeat, in order."""
    retry_delay: timedelta | None
    """How long production waits until the next attempt; None: there is none."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job, as it was at the moment when the test asked."""

    job_id: str
    """As handlers see it."""
    job_type: str
    """The delegated activity type."""
    queue: str
    """The queue it was enqueued in."""
    workflow_id: str | None
    """The workflow that waits; None: `InMemoryEngine.run` does."""
    run_id: str | None
    """Its run."""
    args: Sequence[Any]
    """The arguments, decoded as the handler gets them; empty if they can't be."""
    status: JobStatus
    """Where it is in its life."""
    attempts: Sequence[AttemptRecord]
    """The attempts that have ended, in order."""
    result: Any
    """What it returned; None also for a job that has not completed."""
    error: BaseException | None
    """What the workflow is told if it failed or was canceled: an `ActivityError`; None: it did neither."""
    delivery: Delivery | None
    """How the workflow got the outcome; None: it has not."""
    dead_letter: str | None
    """Why production keeps it as a dead letter; None: it does not."""
    cancel_requested: bool
    """The workflow has asked the running job to stop."""
    is_awaited: bool
    """A local activity waits for its outcome now."""

    @property
    def is_finished(self) -> bool:
        """Whether the job has its outcome."""
        return self.status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED)
