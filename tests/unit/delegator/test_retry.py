"""Retry decisions, against a straightforward model of Temporal's server."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.common import RetryPolicy

from delegator.completion.retry import GiveUp, Retry, backoff_interval, decide

TYPES = ["A", "B", "TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat"]
TIMEOUTS = {
    TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE: "StartToClose",
    TimeoutType.TIMEOUT_TYPE_HEARTBEAT: "Heartbeat",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.TIMEOUT_TYPE_UNSPECIFIED: "Unspecified",
}


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    failure = Failure(message="m")
    match draw(st.sampled_from(["application", "timeout", "canceled", "terminated", "server", "other"])):
        case "application":
            failure.application_failure_info.type = draw(st.sampled_from(TYPES))
            failure.application_failure_info.non_retryable = draw(st.booleans())
            delay = draw(st.none() | st.timedeltas(timedelta(0), timedelta(days=1)))
            if delay is not None:
                failure.application_failure_info.next_retry_delay.FromTimedelta(delay)
        case "timeout":
            failure.timeout_failure_info.timeout_type = draw(st.sampled_from(list(TIMEOUTS)))
        case "canceled":
            failure.canceled_failure_info.SetInParent()
        case "terminated":
            failure.terminated_failure_info.SetInParent()
        case "server":
            failure.server_failure_info.non_retryable = draw(st.booleans())
    return failure


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=draw(st.timedeltas(timedelta(0), timedelta(hours=1))),
        backoff_coefficient=draw(st.floats(1, 10)),
        maximum_interval=draw(st.none() | st.timedeltas(timedelta(milliseconds=1), timedelta(hours=2))),
        maximum_attempts=draw(st.just(0) | st.integers(0, 5)),
        non_retryable_error_types=draw(st.none() | st.lists(st.sampled_from(TYPES), max_size=2)),
    )


def model_interval(policy: RetryPolicy, attempt: int) -> float:
    """Seconds; like the server, with its defaults for what is zero."""
    initial = policy.initial_interval.total_seconds() or 1.0
    longest = policy.maximum_interval.total_seconds() if policy.maximum_interval else initial * 100
    exponent = (attempt - 1) * math.log10(policy.backoff_coefficient)
    return longest if exponent > 12 else min(longest, initial * policy.backoff_coefficient ** (attempt - 1))


@given(
    failures(),
    policies(),
    st.integers(1, 6) | st.integers(1, 100_000),
    st.none() | st.timedeltas(timedelta(-1), timedelta(minutes=1)) | st.timedeltas(timedelta(0), timedelta(days=2)),
    st.booleans(),
)
def test_decide(failure: Failure, policy: RetryPolicy, attempt: int, left: timedelta | None, is_canceled: bool):
    """A failure is retried or given up exactly as Temporal's server does it."""
    decision = decide(failure, policy, attempt, left, cancel_requested=is_canceled)
    excluded = policy.non_retryable_error_types or []
    application, timeout = failure.application_failure_info, failure.timeout_failure_info
    if is_canceled:
        assert decision == GiveUp(RetryState.RETRY_STATE_CANCEL_REQUESTED)
    elif (
        failure.HasField("application_failure_info") and (application.non_retryable or application.type in excluded)
    ) or (
        (
            failure.HasField("timeout_failure_info")
            and (
                TIMEOUTS[timeout.timeout_type] not in ("StartToClose", "Heartbeat")
                or f"TemporalTimeout:{TIMEOUTS[timeout.timeout_type]}" in excluded
            )
        )
        or failure.HasField("canceled_failure_info")
        or failure.HasField("terminated_failure_info")
        or failure.server_failure_info.non_retryable
    ):
        assert decision == GiveUp(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
    elif 0 < policy.maximum_attempts <= attempt:
        assert decision == GiveUp(RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
    else:
        if application.HasField("next_retry_delay"):
            delay = application.next_retry_delay.ToTimedelta().total_seconds()
        else:
            delay = model_interval(policy, attempt)
        if isinstance(decision, Retry):
            assert decision.delay.total_seconds() == pytest.approx(delay, rel=1e-6, abs=2e-6)
            assert left is None or decision.delay < left
        else:
            assert decision == GiveUp(RetryState.RETRY_STATE_TIMEOUT)
            assert left is not None and delay >= left.total_seconds() - 1e-3


def test_default_policy():
    """The default intervals double from 1 second up to 100 seconds."""
    intervals = [backoff_interval(RetryPolicy(), attempt).total_seconds() for attempt in (1, 2, 3, 7, 8, 9, 10**9)]
    assert intervals == [1, 2, 4, 64, 100, 100, 100]


@pytest.mark.parametrize(
    ("policy", "attempt", "seconds"),
    [
        (RetryPolicy(initial_interval=timedelta(seconds=3)), 2, 6),
        (RetryPolicy(backoff_coefficient=3), 3, 9),
        (RetryPolicy(backoff_coefficient=1), 50, 1),
        (RetryPolicy(maximum_interval=timedelta(seconds=5)), 9, 5),
        (RetryPolicy(initial_interval=timedelta(milliseconds=20)), 9, 2),
    ],
)
def test_backoff_interval(policy: RetryPolicy, attempt: int, seconds: float):
    """Each field of the retry policy has its effect on the interval."""
    assert backoff_interval(policy, attempt).total_seconds() == seconds


@pytest.mark.parametrize("excluded", TYPES)
def test_non_retryable_types(excluded: str):
    """A failure is given up if the policy names its type, also for the types of timeouts."""
    policy = RetryPolicy(non_retryable_error_types=[excluded])
    decisions = {}
    for type_ in ("A", "B"):
        failure = Failure(message="m")
        failure.application_failure_info.type = type_
        decisions[type_] = decide(failure, policy, 1, None)
    for timeout in (TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE, TimeoutType.TIMEOUT_TYPE_HEARTBEAT):
        failure = Failure(message="m")
        failure.timeout_failure_info.timeout_type = timeout
        decisions[f"TemporalTimeout:{TIMEOUTS[timeout]}"] = decide(failure, policy, 1, None)
    given_up = [type_ for type_, decision in decisions.items() if isinstance(decision, GiveUp)]
    assert given_up == [excluded]
    assert decisions[excluded] == GiveUp(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)


def test_no_policy():
    """Without a policy the default one applies."""
    failure = Failure(message="m")
    failure.application_failure_info.type = "A"
    assert decide(failure, None, 3, None) == Retry(timedelta(seconds=4))


def test_huge_retry_delay():
    """A huge delay that a failure asks for is cut to what the database can store."""
    failure = Failure(message="m")
    failure.application_failure_info.next_retry_delay.FromTimedelta(timedelta(days=3_000_000))
    decision = decide(failure, None, 1, None)
    assert isinstance(decision, Retry) and decision.delay <= timedelta(days=3650)
