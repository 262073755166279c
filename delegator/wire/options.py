"""Encodes job options for the `options` column and for enqueue requests: JSON, durations in milliseconds."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any

import orjson
from delegator_schema.options import (
    ACTIVITY_ID,
    FAIRNESS_KEY,
    FAIRNESS_WEIGHT,
    HEARTBEAT_MS,
    INLINE_WAIT_MS,
    LARGEST_WEIGHT,
    LEAST_WEIGHT,
    PRIORITY_KEY,
    REFUSED,
    REFUSED_MS,
    RETRY,
    SCHEDULE_TO_CLOSE_MS,
    SCHEDULE_TO_START_MS,
    START_DELAY_MS,
    START_TO_CLOSE_MS,
    TASK_RETRY,
)
from temporalio.common import Priority, RetryPolicy

from delegator.contracts import DEFAULT_OPTIONS, JobOptions
from delegator.errors import WireError

_DURATIONS = {
    START_TO_CLOSE_MS: "start_to_close_timeout",
    SCHEDULE_TO_CLOSE_MS: "schedule_to_close_timeout",
    SCHEDULE_TO_START_MS: "schedule_to_start_timeout",
    HEARTBEAT_MS: "heartbeat_timeout",
    INLINE_WAIT_MS: "inline_wait",
    START_DELAY_MS: "start_delay",
}
_LOWEST_PRIORITY = 5
_MILLISECOND = timedelta(milliseconds=1)
_LONGEST = timedelta(days=365_000)


def encode_options(options: JobOptions) -> dict[str, Any] | None:
    """Return the options that differ from the defaults; None: all are defaults."""
    encoded: dict[str, Any] = {
        key: _milliseconds(value) for key, name in _DURATIONS.items() if (value := getattr(options, name)) is not None
    }
    if not encoded.get(START_DELAY_MS):
        encoded.pop(START_DELAY_MS, None)
    policy = options.retry_policy
    if policy is not None:
        retry: dict[str, Any] = {}
        if policy.initial_interval != timedelta(seconds=1):
            retry["initial_interval_ms"] = _milliseconds(policy.initial_interval)
        if policy.backoff_coefficient != 2.0:
            retry["backoff_coefficient"] = policy.backoff_coefficient
        if policy.maximum_interval is not None:
            retry["maximum_interval_ms"] = _milliseconds(policy.maximum_interval)
        if policy.maximum_attempts:
            retry["maximum_attempts"] = policy.maximum_attempts
        if policy.non_retryable_error_types:
            retry["non_retryable_error_types"] = list(policy.non_retryable_error_types)
        if retry:
            encoded[RETRY] = retry
    if options.priority is not None:
        encoded |= encode_priority(options.priority)
    if options.activity_id is not None:
        encoded[ACTIVITY_ID] = options.activity_id
    return encoded or None


def encode_priority(priority: Priority) -> dict[str, Any]:
    """Return the options of a priority.

    The values are kept within Temporal's limits, as its server does: five priority keys, weights of 0.001 to 1000.
    """
    encoded: dict[str, Any] = {}
    if priority.priority_key:
        encoded[PRIORITY_KEY] = min(priority.priority_key, _LOWEST_PRIORITY)
    if priority.fairness_key:
        encoded[FAIRNESS_KEY] = priority.fairness_key
    if priority.fairness_weight:
        encoded[FAIRNESS_WEIGHT] = min(max(float(priority.fairness_weight), LEAST_WEIGHT), LARGEST_WEIGHT)
    return encoded


def _decode_priority(encoded: dict[str, Any]) -> Priority | None:
    priority = Priority(
        priority_key=encoded.get(PRIORITY_KEY),
        fairness_key=encoded.get(FAIRNESS_KEY),
        fairness_weight=encoded.get(FAIRNESS_WEIGHT),
    )
    return None if priority == Priority.default else priority


def _milliseconds(duration: timedelta) -> int:
    """Round up, so that no timeout becomes zero. Limit the value to what a PostgreSQL timestamp can hold."""
    return -(-min(duration, _LONGEST) // _MILLISECOND)


def decode_options(text: str | None) -> JobOptions:
    """Return the options in the text of an `options` column.

    Raises:
        WireError: the text is not JSON, or a value has the wrong type.
    """
    return DEFAULT_OPTIONS if text is None else _decode(text)


def encode_task_retry(policy: RetryPolicy) -> dict[str, Any]:
    """Return the option that holds the retry policy by which Temporal retries an activity task."""
    return {TASK_RETRY: (encode_options(JobOptions(retry_policy=policy)) or {}).get(RETRY, {})}


def decode_task_retry(text: str | None) -> RetryPolicy | None:
    """Return the policy by which Temporal retries an activity task; None: it is not known.

    Args:
        text: of an `options` column.

    Raises:
        WireError: the text is not JSON, or a value has the wrong type.
    """
    if text is None or f'"{TASK_RETRY}"' not in text:
        return None
    return _decode(orjson.dumps({RETRY: orjson.loads(text)[TASK_RETRY]}).decode()).retry_policy


def refused_time(text: str | None) -> timedelta:
    """Return the sum of the delays after which a job that workers refused was offered again.

    Args:
        text: of an `options` column.
    """
    if text is None or f'"{REFUSED}"' not in text:
        return timedelta(0)
    try:
        return timedelta(milliseconds=orjson.loads(text)[REFUSED][REFUSED_MS])
    except (KeyError, TypeError, ValueError, OverflowError):
        return timedelta(0)


@lru_cache(maxsize=1024)
def _decode(text: str) -> JobOptions:
    """Decode the text of a column. It is cached, because thousands of jobs have the same few options."""
    try:
        encoded = orjson.loads(text)
        values: dict[str, Any] = {
            name: timedelta(milliseconds=encoded[key])
            for key, name in _DURATIONS.items()
            if encoded.get(key) is not None
        }
        retry = encoded.get(RETRY)
        if retry is not None:
            maximum = retry.get("maximum_interval_ms")
            values["retry_policy"] = RetryPolicy(
                initial_interval=timedelta(milliseconds=retry.get("initial_interval_ms", 1000)),
                backoff_coefficient=float(retry.get("backoff_coefficient", 2.0)),
                maximum_interval=None if maximum is None else timedelta(milliseconds=maximum),
                maximum_attempts=int(retry.get("maximum_attempts", 0)),
                non_retryable_error_types=_names(retry.get("non_retryable_error_types")),
            )
        return JobOptions(**values, priority=_decode_priority(encoded), activity_id=encoded.get(ACTIVITY_ID))
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise WireError("the job's options have a value of the wrong type") from None


def _names(value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("not a list of names")
    return value
