"""Decides what follows a failed attempt: another attempt, or the job's outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure

from delegator.completion.failures import failed_outcome
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


def judge(ended: Ended, failure: Failure, *, identity: str, now: float) -> Retry | FinalFailure:
    """Return what follows a failed attempt.

    Args:
        ended: the attempt.
        failure: what went wrong.
        identity: this worker's name in failures.
        now: the monotonic clock, in seconds.
    """
    job = ended.job
    left = None if job.deadline is None else timedelta(seconds=job.deadline - now)
    decision = decide(failure, job.options.retry_policy, job.attempt, left)
    if not isinstance(decision, GiveUp):
        return decision
    outcome = failed_outcome(
        failure,
        job_id=job.job_id,
        job_type=job.job_type,
        identity=identity,
        retry_state=decision.retry_state,
    )
    reason = ended.dead_letter_reason
    if reason is None and decision.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED:
        reason = Reason.ATTEMPTS_EXHAUSTED
    if reason is None and job.row.workflow_id is None and outcome.status is OutcomeStatus.FAILED:
        reason = Reason.NON_RETRYABLE
    return FinalFailure(outcome, reason)
