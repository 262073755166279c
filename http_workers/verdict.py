"""Decides what follows a failed attempt: another attempt, or the job's outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import TimeoutType

from delegator.completion.failures import Ending, caused_by, failed_outcome, no_time_to_retry
from delegator.completion.retry import GiveUp, Retry, decide
from delegator.postgres.dead_letters import Reason
from delegator.wire.outcomes import Outcome, OutcomeStatus
from http_workers.attempt import Ended


@dataclass(frozen=True, slots=True)
class FinalFailure:
    """The job is not tried again."""

    outcome: Outcome
    """The outcome for the workflow."""
    dead_letter_reason: Reason | None
    """Why the job becomes a dead letter; None: it does not."""


def judge(
    ended: Ended, failure: Failure, *, identity: str, now: float, last_failure: Failure | None = None
) -> Retry | FinalFailure:
    """Return what follows a failed attempt.

    Args:
        ended: the attempt.
        failure: what went wrong.
        identity: this worker's name in failures.
        now: the monotonic clock, in seconds.
        last_failure: what went wrong in the attempt before, if it is known. It is the cause of a timeout.
    """
    job = ended.job
    left = None if job.deadline is None else timedelta(seconds=job.deadline - now)
    is_timeout = job.timed_out is not None and failure.HasField("timeout_failure_info")
    if is_timeout and job.timed_out is TimeoutType.SCHEDULE_TO_CLOSE:
        decision: Retry | GiveUp = GiveUp(RetryState.RETRY_STATE_TIMEOUT)
    else:
        decision = decide(failure, job.options.retry_policy, job.attempt, left, cancel_requested=job.cancel_requested)
    if not isinstance(decision, GiveUp):
        return decision
    if is_timeout:
        ending = Ending.TIMED_OUT
        if decision.retry_state == RetryState.RETRY_STATE_TIMEOUT:
            failure = no_time_to_retry(failure)
        failure = caused_by(failure, last_failure)
    elif job.cancel_requested and failure.HasField("canceled_failure_info"):
        ending = Ending.CANCELED
    else:
        ending = Ending.FAILED
    outcome = failed_outcome(
        failure,
        job_id=job.job_id,
        job_type=job.job_type,
        identity=identity,
        retry_state=decision.retry_state,
        ending=ending,
    )
    reason = ended.dead_letter_reason
    if reason is None and decision.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED:
        reason = Reason.ATTEMPTS_EXHAUSTED
    if reason is None and job.row.workflow_id is None and outcome.status is OutcomeStatus.FAILED:
        reason = Reason.NON_RETRYABLE
    return FinalFailure(outcome, reason)
