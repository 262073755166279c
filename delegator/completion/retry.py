"""Decides whether and when a failed attempt is repeated, by the meaning of Temporal's RetryPolicy.

See Temporal's documentation, "Retry Policies": https://docs.temporal.io/encyclopedia/retry-policies
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.common import RetryPolicy
from temporalio.exceptions import TimeoutType

from delegator.completion.failures import timeout_name

DEFAULT_RETRY_POLICY: Final = RetryPolicy()
_LONGEST: Final = timedelta(days=3650)
_RETRYABLE_TIMEOUTS: Final[frozenset[int]] = frozenset({TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT})


@dataclass(frozen=True, slots=True)
class Retry:
    """Make another attempt."""

    delay: timedelta
    """Time until the next attempt."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make no further attempt."""

    retry_state: RetryState.ValueType
    """Why there is no further attempt."""


def decide(
    failure: Failure,
    policy: RetryPolicy | None,
    attempt: int,
    time_left: timedelta | None,
    *,
    cancel_requested: bool = False,
) -> Retry | GiveUp:
    """Decide what follows a failed attempt.

    Args:
        failure: the attempt's failure.
        policy: the job's retry policy; None: Temporal's default.
        attempt: number of the failed attempt, from 1.
        time_left: time until the job's schedule-to-close deadline; None: it has none.
        cancel_requested: whether the workflow has asked the job to stop.
    """
    policy = policy or DEFAULT_RETRY_POLICY
    if cancel_requested:
        return GiveUp(RetryState.RETRY_STATE_CANCEL_REQUESTED)
    if is_final(failure, policy):
        return GiveUp(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return GiveUp(RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
    delay = _asked_delay(failure)
    if delay is None:
        delay = backoff_interval(policy, attempt)
    if time_left is not None and delay >= time_left:
        return GiveUp(RetryState.RETRY_STATE_TIMEOUT)
    return Retry(delay)


def backoff_interval(policy: RetryPolicy, attempt: int) -> timedelta:
    """Return the interval after attempt number `attempt`."""
    initial = policy.initial_interval or DEFAULT_RETRY_POLICY.initial_interval
    longest = min(policy.maximum_interval or initial * 100, _LONGEST)
    try:
        interval = initial * policy.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        return longest
    return min(interval, longest)


def is_final(failure: Failure, policy: RetryPolicy | None) -> bool:
    """Return whether a failure allows no further attempt, by its own flag or by the types that a policy excludes."""
    policy = policy or DEFAULT_RETRY_POLICY
    if failure.HasField("application_failure_info"):
        info = failure.application_failure_info
        return info.non_retryable or info.type in (policy.non_retryable_error_types or ())
    if failure.HasField("timeout_failure_info"):
        number = failure.timeout_failure_info.timeout_type
        if number not in _RETRYABLE_TIMEOUTS:
            return True
        # Temporal's server excludes timeouts by these names.
        return f"TemporalTimeout:{timeout_name(TimeoutType(number))}" in (policy.non_retryable_error_types or ())
    if failure.HasField("server_failure_info"):
        return failure.server_failure_info.non_retryable
    return failure.HasField("canceled_failure_info") or failure.HasField("terminated_failure_info")


def _asked_delay(failure: Failure) -> timedelta | None:
    info = failure.application_failure_info
    if failure.HasField("application_failure_info") and info.HasField("next_retry_delay"):
        return min(info.next_retry_delay.ToTimedelta(), _LONGEST)
    return None
