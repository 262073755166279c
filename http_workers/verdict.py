"""Decides what follows a failed attempt: another attempt, or the job's outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.common import RetryPolicy
from temporalio.exceptions import TimeoutType

from delegator.completion.failures import Ending, caused_by, failed_outcome, no_time_to_retry
from delegator.completion.retry import GiveUp, Retry, decide, is_final
from delegator.postgres.dead_letters import Reason
from delegator.wire.options import refused_time
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
    ended: Ended,
    failure: Failure,
    *,
    identity: str,
    now: float,
    grace: timedelta,
    offer_after: timedelta | None = None,
    last_failure: Failure | None = None,
) -> Retry | FinalFailure:
    """Return what follows a failed attempt.

    Args:
        ended: the attempt.
        failure: what went wrong.
        identity: this worker's name in failures.
        now: the monotonic clock, in seconds.
        grace: how long a job may be refused in all.
        offer_after: the delay after which a job is offered again whose type this worker does not know, or whose key it
            does not have. None: no worker may have either.
        last_failure: what went wrong in the attempt before, if it is known. It is the cause of a timeout.
    """
    job = ended.job
    is_timeout = job.timed_out is not None and failure.HasField("timeout_failure_info")
    if ended.refusal in (Reason.UNKNOWN_TYPE, Reason.LOCKED):
        decision = _decide_uncounted(failure, job.options.retry_policy, offer_after)
    elif is_timeout and job.timed_out is TimeoutType.SCHEDULE_TO_CLOSE:
        decision = GiveUp(RetryState.RETRY_STATE_TIMEOUT)
    else:
        left = None if job.deadline is None else timedelta(seconds=job.deadline - now)
        decision = decide(failure, job.options.retry_policy, job.attempt, left, cancel_requested=job.cancel_requested)
    if isinstance(decision, Retry):
        # A job is never given up because this process lacks a key: a person can bring it, however late.
        if ended.refusal in (None, Reason.LOCKED) or refused_time(job.row.options) + decision.delay <= grace:
            return decision
        decision = GiveUp(RetryState.RETRY_STATE_TIMEOUT)
    ending = Ending.FAILED
    if is_timeout:
        ending = Ending.TIMED_OUT
        if decision.retry_state == RetryState.RETRY_STATE_TIMEOUT:
            failure = no_time_to_retry(failure)
        failure = caused_by(failure, last_failure)
    elif job.cancel_requested and failure.HasField("canceled_failure_info"):
        ending = Ending.CANCELED
    outcome = failed_outcome(
        failure,
        job_id=job.job_id,
        job_type=job.job_type,
        identity=identity,
        retry_state=decision.retry_state,
        ending=ending,
    )
    reason = ended.refusal
    if reason is None and decision.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED:
        reason = Reason.ATTEMPTS_EXHAUSTED
    if reason is None and job.row.workflow_id is None and outcome.status is OutcomeStatus.FAILED:
        reason = Reason.NON_RETRYABLE
    return FinalFailure(outcome, reason)


def _decide_uncounted(failure: Failure, policy: RetryPolicy | None, offer_after: timedelta | None) -> Retry | GiveUp:
    """Decide where a handler or a key is missing here: no attempt counts, because another pool may have it.

    So only the types that the policy excludes matter, and the sweeper looks after the deadline.
    """
    if is_final(failure, policy):
        return GiveUp(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
    return GiveUp(RetryState.RETRY_STATE_TIMEOUT) if offer_after is None else Retry(offer_after)
