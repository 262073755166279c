"""The state of a job as operators see it: what it is, why, since when, and what would have to happen.

The command line, the page, the JSON API and the metrics use these names, so that they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from delegator.contracts import DYNAMIC_TYPE
from delegator.operating.canary_type import CANARY
from delegator.postgres import dead_letters
from delegator.postgres.job_views import JobRow
from delegator.postgres.leases import WorkerLease
from delegator.postgres.pauses import Pause


class State(StrEnum):
    """Where a job is in its life. `docs/explanation/job-life.md` shows which columns say so."""

    WAITING = "waiting"
    """No attempt runs, and none has to be waited for because the one before failed."""
    RUNNING = "running"
    """A live process holds it."""
    BACKING_OFF = "backing_off"
    """An attempt has failed, and the next one is not due."""
    DELIVERING = "delivering"
    """It has ended, and the outcome must be signalled to its workflow."""
    STORED = "stored"
    """It has ended, and its enqueuer reads the outcome or has read it. The row is deleted soon."""
    DEAD = "dead"
    """The queue gave it up. It is a dead letter."""


UNFINISHED = (State.WAITING, State.RUNNING, State.BACKING_OFF)
"""The states of jobs that have not ended."""


class Reason(StrEnum):
    """Why a job is not further."""

    PAUSED = "paused"
    """Its queue or its type is paused."""
    NO_WORKER = "no_worker"
    """No live worker serves its queue."""
    UNKNOWN_TYPE = "unknown_type"
    """Workers serve its queue, and none of them has a handler for its type."""
    REFUSED = "refused"
    """A worker could not begin it: it had no handler, could not decode the arguments, or lacked the key."""
    DUE = "due"
    """Its start delay is not over."""
    LIMIT = "limit"
    """Its type's limit is reached."""
    WORKER = "worker"
    """It waits for the stream to bring it to a worker with a free slot."""
    WORKER_LOST = "worker_lost"
    """The worker that ran it has lost its lease. Maintenance gives it to others."""
    CLIENT = "client"
    """Its handler has left the attempt to a client, which completes it."""
    CANCELING = "canceling"
    """It runs, and was asked to stop."""
    FAILED = "failed"
    """Its last attempt failed."""
    NO_MAINTENANCE = "no_maintenance"
    """The next step is that of `delegator serve`, and none runs."""


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What is known of a queue beside its jobs."""

    workers: Sequence[WorkerLease]
    """The live workers of the queue."""
    pauses: Sequence[Pause]
    """The pauses of the queue and of its types."""
    has_leader: bool
    """Whether a maintenance process runs and leads."""

    def pause_of(self, job_type: str) -> Pause | None:
        """Return the pause that stops a type; None: nothing does. A queue's pause comes before a type's."""
        return next((pause for pause in self.pauses if pause.job_type in (None, job_type)), None)

    def serves(self, job_type: str) -> bool:
        """Return whether a live worker has a handler for a type, or does not say which it has."""
        return any(
            job_type == CANARY  # all of them have it, and none says so
            or worker.job_types is None
            or job_type in worker.job_types
            or DYNAMIC_TYPE in worker.job_types
            for worker in self.workers
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is."""

    state: State
    reason: Reason | None
    """Why it is not further; None: nothing holds it up."""
    since: datetime | None
    """Since when; None: not known."""
    text: str
    """What is so, in a sentence."""
    needs: str
    """What would have to happen."""
    next_look_at: datetime | None
    """When it is looked at next by the clock; None: when what it needs happens."""


def explain(job: JobRow, facts: QueueFacts) -> Explanation:
    """Return why a job is where it is.

    Args:
        job: the job.
        facts: what is known of its queue.
    """
    state = State(job.state)
    if state is State.RUNNING:
        return _running(job)
    if state is State.DELIVERING:
        return _delivering(job, facts)
    if state is State.STORED:
        return Explanation(
            state,
            None,
            job.completed_at,
            f"It is {job.outcome}, and the enqueuer that waits inline reads the outcome or has read it.",
            "nothing: the row is deleted soon",
            None,
        )
    if job.lease_id is not None:
        return _or_no_maintenance(
            facts,
            Explanation(
                state,
                Reason.WORKER_LOST,
                job.lease_expires_at,
                f"The worker {job.holder or 'that held it'} has lost its lease: it died, or lost its database.",
                "maintenance ends the attempt and schedules the next one",
                job.now + timedelta(seconds=1),
            ),
        )
    if job.paused_since is not None:
        return _paused(job, facts)
    if job.retry_at is not None:
        return _or_no_maintenance(facts, _scheduled(job, facts))
    return _waiting(job, facts)


def _running(job: JobRow) -> Explanation:
    seen = job.seen_running
    where = f"on {job.holder}"
    if job.is_left_open:
        return Explanation(
            State.RUNNING,
            Reason.CLIENT,
            None,
            f"Its handler has ended attempt {job.attempt} without an outcome, and left it to a client.",
            "a client completes it by its task token or its id"
            + ("" if job.retry_at is None else ", or the attempt times out"),
            job.retry_at,
        )
    beat = (
        "" if seen is None or seen.heartbeat_at is None else f"; its last heartbeat came at {_clock(seen.heartbeat_at)}"
    )
    text = f"Attempt {job.attempt} runs {where}{beat}."
    if job.cancel_requested:
        return Explanation(
            State.RUNNING,
            Reason.CANCELING,
            job.running_since,
            f"{text} It was asked to stop.",
            "its handler ends",
            None,
        )
    return Explanation(State.RUNNING, None, job.running_since, text, "its handler ends", job.deadline)


def _delivering(job: JobRow, facts: QueueFacts) -> Explanation:
    return _or_no_maintenance(
        facts,
        Explanation(
            State.DELIVERING,
            None,
            job.completed_at,
            f"It is {job.outcome}, and the outcome must be signalled to workflow {job.workflow_id}.",
            "Temporal takes the signal: if this lasts, see the log of `delegator serve`",
            job.now + timedelta(seconds=1),
        ),
    )


def _paused(job: JobRow, facts: QueueFacts) -> Explanation:
    pause = facts.pause_of(job.job_type)
    since = job.paused_since
    if pause is None:
        return _or_no_maintenance(
            facts,
            Explanation(
                State.WAITING,
                Reason.PAUSED,
                since,
                "It was paused, and the pause has ended.",
                "maintenance frees it",
                job.now + timedelta(seconds=15),
            ),
        )
    what, command = (
        (f"queue {pause.queue}", f"delegator queues resume {pause.queue}")
        if pause.job_type is None
        else (f"type {pause.job_type}", f"delegator types resume {pause.job_type}")
    )
    note = "" if pause.note is None else f" ({pause.note})"
    return Explanation(
        State.WAITING,
        Reason.PAUSED,
        since,
        f"{what[0].upper()}{what[1:]} was paused at {_clock(pause.paused_at)} by {pause.paused_by}{note}."
        " Its deadline stands still.",
        f"`{command}`",
        None,
    )


def _scheduled(job: JobRow, facts: QueueFacts) -> Explanation:
    """Explain a job whose next attempt has a time."""
    at = job.retry_at
    if job.refused is not None:
        return Explanation(
            State(job.state),
            Reason.REFUSED,
            job.published_at,
            f"A worker could not begin it: {_refusal(job)}.",
            _served_by(job),
            at,
        )
    failed = job.attempts[-1] if job.attempts else None
    if job.attempt == 0:
        if job.has_start_delay:
            return Explanation(
                State.WAITING, Reason.DUE, job.enqueued_at, "Its start delay is not over.", "the time comes", at
            )
        return _limited(job)
    if failed is not None and at is not None and at > failed.retry_at + timedelta(seconds=0.5):
        return _limited(job)
    error = "" if failed is None else f" with {failed.error}"
    return Explanation(
        State.BACKING_OFF,
        Reason.FAILED,
        None if failed is None else failed.failed_at,
        f"Attempt {job.attempt} failed{error}.",
        f"attempt {job.attempt + 1} becomes due, or `delegator jobs retry {job.job_id}`",
        at,
    )


def _refusal(job: JobRow) -> str:
    match job.refused:
        case dead_letters.Reason.UNKNOWN_TYPE:
            return f"it has no handler for type {job.job_type}"
        case dead_letters.Reason.LOCKED:
            return "it lacks the payload codec of the client, or its key (DELEGATOR_DATA_CONVERTER)"
        case _:
            return "it can't decode the arguments (DELEGATOR_DATA_CONVERTER, or another signature of the handler)"


def _limited(job: JobRow) -> Explanation:
    return Explanation(
        State(job.state),
        Reason.LIMIT,
        job.published_at,
        f"A worker put it off, because the limit of type {job.job_type} is reached.",
        "its turn comes; more workers, or a higher limit, would bring it sooner",
        job.retry_at,
    )


def _waiting(job: JobRow, facts: QueueFacts) -> Explanation:
    pause = facts.pause_of(job.job_type)
    if pause is not None:
        return _paused(job, facts)
    if not facts.workers:
        return Explanation(
            State.WAITING,
            Reason.NO_WORKER,
            job.published_at,
            f"No live worker serves queue {job.queue}.",
            _served_by(job),
            None,
        )
    if not facts.serves(job.job_type):
        return Explanation(
            State.WAITING,
            Reason.UNKNOWN_TYPE,
            job.published_at,
            f"{_number(len(facts.workers), 'live worker')} of queue {job.queue}, and none has a handler for"
            f" type {job.job_type}.",
            _served_by(job),
            None,
        )
    slots = sum(worker.slots or 0 for worker in facts.workers)
    running = sum(worker.running or 0 for worker in facts.workers)
    if slots and running >= slots:
        text = f"All {slots} slots of {_number(len(facts.workers), 'worker')} are in use."
    elif job.waits_in_lane:
        text = "It waits in its line: jobs with a lower priority number go first, or its type's limit is reached."
    else:
        text = "The stream has not brought it to a worker with a free slot yet."
    return Explanation(
        State.WAITING,
        Reason.WORKER,
        job.published_at,
        text,
        "a slot is free; if it has waited for long, run `delegator doctor`",
        None,
    )


def _or_no_maintenance(facts: QueueFacts, explanation: Explanation) -> Explanation:
    if facts.has_leader:
        return explanation
    return Explanation(
        explanation.state,
        Reason.NO_MAINTENANCE,
        explanation.since,
        f"{explanation.text} No maintenance process runs, and it does the next step.",
        "start `delegator serve`",
        None,
    )


def _served_by(job: JobRow) -> str:
    return f"start a worker: `http-worker --queue {job.queue} --import MODULE`, with the module of type {job.job_type}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S%z}"
