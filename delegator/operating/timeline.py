"""What has happened to a job, in order, as far as its row still says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from delegator_schema.options import WORKER_LOST

from delegator.durations import short_duration
from delegator.operating.states import Explanation, State
from delegator.postgres.dead_letters import DeadLetter
from delegator.postgres.job_views import FailedAttempt, JobRow

_SAME: timedelta = timedelta(milliseconds=5)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that has happened, or is to happen."""

    at: datetime | None
    """When; None: not known."""
    event: str
    """What: one word or two, always the same for the same event."""
    detail: str
    """More about it."""


def timeline(job: JobRow, explanation: Explanation) -> list[Moment]:
    """Return the timeline of a job that has a row.

    Args:
        job: the job.
        explanation: why it is where it is.
    """
    moments = [Moment(job.enqueued_at, "enqueued", _origin(job))]
    # A row is inserted again for each attempt but the first one, and whenever the stream must bring it again.
    if job.published_at - job.enqueued_at > _SAME:
        moments.append(
            Moment(job.published_at, "published again", "the row was inserted again, so the stream brings it")
        )
    for attempt in job.attempts:
        moments += _of_attempt(attempt)
    if job.state == State.RUNNING and not job.is_left_open:
        moments.append(Moment(job.running_since, "claimed", f"attempt {job.attempt} on {job.holder}"))
        if job.seen_running is not None and job.seen_running.heartbeat_at is not None:
            moments.append(Moment(job.seen_running.heartbeat_at, "heartbeat", "the last one that is known"))
    if job.paused_since is not None:
        moments.append(Moment(job.paused_since, "paused", explanation.text))
    if job.completed_at is not None:
        moments.append(Moment(job.completed_at, "ended", f"{job.outcome}; {_path(job)}"))
    return sorted(moments, key=_time)


def timeline_of_dead_letter(letter: DeadLetter, attempts: Sequence[FailedAttempt] = ()) -> list[Moment]:
    """Return the timeline of a dead letter.

    Args:
        letter: the dead letter.
        attempts: the failed attempts before the last one.
    """
    moments = [Moment(letter.enqueued_at, "enqueued", "")]
    for attempt in attempts:
        moments += _of_attempt(attempt)
    moments.append(
        Moment(letter.died_at, "dead", f"attempt {letter.attempt} failed with {letter.error}: {letter.reason}")
    )
    return sorted(moments, key=_time)


def completion_path(job: JobRow) -> str:
    """Return how the outcome goes to whoever waits for it: `inline`, `signal`, `activity task` or `none`."""
    if job.is_activity_task:
        return "activity task"
    if job.workflow_id is None:
        return "none"
    return "inline" if job.has_waiter else "signal"


def _path(job: JobRow) -> str:
    path = completion_path(job)
    return (
        "no workflow waits" if path == "none" else f"the outcome goes by {path}" if path != "inline" else "read inline"
    )


def _origin(job: JobRow) -> str:
    if job.workflow_id is None:
        return "no workflow waits for it"
    return f"by workflow {job.workflow_id}, run {job.run_id}"


def _of_attempt(attempt: FailedAttempt) -> Iterator[Moment]:
    where = "" if attempt.holder is None else f" on {attempt.holder}"
    if attempt.started_at is not None:
        yield Moment(attempt.started_at, "claimed", f"attempt {attempt.attempt}{where}")
    if attempt.error == WORKER_LOST:
        yield Moment(
            attempt.failed_at,
            "worker lost",
            f"attempt {attempt.attempt}{where}; next attempt after {short_duration(attempt.delay)}",
        )
    else:
        yield Moment(
            attempt.failed_at,
            "failed",
            f"attempt {attempt.attempt} with {attempt.error}; next attempt after {short_duration(attempt.delay)}",
        )


def _time(moment: Moment) -> float:
    return float("inf") if moment.at is None else moment.at.timestamp()
