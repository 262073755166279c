"""The options of a job: timeouts, retry policy, priority, ... A call sets them, or a type for all of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypedDict

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType

from delegator.errors import ConfigurationError


class TypeOptions(TypedDict, total=False):
    """The keywords of `JobOptions`, for signatures."""

    start_to_close_timeout: timedelta | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    inline_wait: timedelta | None
    priority: Priority | None
    start_delay: timedelta | None


class CallOptions(TypeOptions, total=False):
    """The keywords of `delegate`, `delegate_map` and `delegate_starmap`."""

    cancellation_type: ActivityCancellationType


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of a job. None means the value of the type, or else the default."""

    start_to_close_timeout: timedelta | None = None
    """Longest run of one attempt. The worker enforces it; from one second on, to a tenth of a second. Default: none."""
    schedule_to_close_timeout: timedelta | None = None
    """Longest time from enqueue to the final outcome, retries included. Default: none."""
    schedule_to_start_timeout: timedelta | None = None
    """Longest time from enqueue to the first claim. Default: none."""
    heartbeat_timeout: timedelta | None = None
    """Longest time between two heartbeats of a handler. Default: none."""
    retry_policy: RetryPolicy | None = None
    """As in Temporal. Default: the first retry after 1 s, intervals that double up to 100 s, without end."""
    inline_wait: timedelta | None = None
    """How long the local activity that enqueues waits for the outcome; zero: never. Default: the worker's. A workflow
    task that is older than the worker's wait, or than this one if it is longer, waits no more."""
    priority: Priority | None = None
    """As in Temporal: `priority_key` from 1 (first) to 5, then fairness. A field that is None is taken from the type,
    then from the workflow. Default: 3, the empty fairness key, weight 1. Only an ordered queue obeys it."""
    start_delay: timedelta | None = None
    """How long the first attempt is put off. All timeouts count from its end. Default: not at all."""
    activity_id: str | None = None
    """The caller's id of the activity. Default: the job's id."""

    def validate(self, owner: str) -> None:
        """Check the values.

        Args:
            owner: name of the delegated activity type, for the message.

        Raises:
            ConfigurationError: a value has the wrong type, or is out of range.
        """
        for option in _DURATIONS:
            value = getattr(self, option)
            if value is None:
                continue
            _check_duration(f"{owner}: {option}", value)
            if not value and option not in _MAY_BE_ZERO:
                raise ConfigurationError(f"{owner}: {option} must be positive")
        if self.retry_policy is not None:
            _check_retry_policy(f"{owner}: retry_policy", self.retry_policy)
        if self.priority is not None:
            _check_priority(f"{owner}: priority", self.priority)

    def over(self, base: JobOptions) -> JobOptions:
        """Return these options. A value that is None is taken from `base`."""
        if self is base:
            return self
        mine = {name: value for name in _OPTION_NAMES if (value := getattr(self, name)) is not None}
        if self.priority is not None and base.priority is not None:
            mine["priority"] = merged_priority(self.priority, base.priority)
        return replace(base, **mine)

    def key(self) -> tuple[Any, ...]:
        """Return a hashable value that is equal for equal options. A retry policy is not hashable."""
        return (
            self.start_to_close_timeout,
            self.schedule_to_close_timeout,
            self.schedule_to_start_timeout,
            self.heartbeat_timeout,
            retry_key(self.retry_policy),
            self.inline_wait,
            self.priority,
            self.start_delay,
            self.activity_id,
        )


_OPTION_NAMES = tuple(JobOptions.__dataclass_fields__)
_DURATIONS = tuple(name for name in _OPTION_NAMES if name not in ("retry_policy", "priority", "activity_id"))
_MAY_BE_ZERO = ("inline_wait", "start_delay")
_LONGEST_FAIRNESS_KEY = 64
DEFAULT_OPTIONS = JobOptions()


def retry_key(policy: RetryPolicy | None) -> tuple[Any, ...] | None:
    """Return a hashable value that is equal for equal retry policies."""
    if policy is None:
        return None
    return (
        policy.initial_interval,
        policy.backoff_coefficient,
        policy.maximum_interval,
        policy.maximum_attempts,
        tuple(policy.non_retryable_error_types or ()),
    )


def _check_duration(option: str, value: object) -> None:
    if not isinstance(value, timedelta):
        raise ConfigurationError(
            f"{option} must be a datetime.timedelta, not {_type_of(value)}: write timedelta(seconds=...)"
        )
    if value < timedelta(0):
        raise ConfigurationError(f"{option} must not be negative")


def _check_retry_policy(option: str, policy: object) -> None:
    """Refuse a retry policy that Temporal would refuse, and values of the wrong type."""
    if not isinstance(policy, RetryPolicy):
        raise ConfigurationError(f"{option} must be a temporalio.common.RetryPolicy, not {_type_of(policy)}")
    _check_duration(f"{option}: initial_interval", policy.initial_interval)
    if policy.maximum_interval is not None:
        _check_duration(f"{option}: maximum_interval", policy.maximum_interval)
    check_number(f"{option}: backoff_coefficient", policy.backoff_coefficient)
    if policy.backoff_coefficient < 1:
        raise ConfigurationError(f"{option}: backoff_coefficient must be at least 1")
    check_number(f"{option}: maximum_attempts", policy.maximum_attempts, whole=True)
    if policy.maximum_attempts < 0:
        raise ConfigurationError(f"{option}: maximum_attempts must not be negative")
    names: object = policy.non_retryable_error_types
    if names is not None and (
        isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names)
    ):
        raise ConfigurationError(f"{option}: non_retryable_error_types must be a list of names of exception types")


def merged_priority(priority: Priority | None, inherited: Priority) -> Priority | None:
    """Return a call's priority. What it leaves open is inherited from the workflow. None: nothing is set.

    `temporalio.common.Priority` has the rule.
    """
    given = priority or Priority.default
    merged = Priority(
        priority_key=given.priority_key or inherited.priority_key,
        fairness_key=given.fairness_key or inherited.fairness_key,
        fairness_weight=given.fairness_weight or inherited.fairness_weight,
    )
    return None if merged == Priority.default else merged


def _check_priority(option: str, priority: object) -> None:
    """Refuse a priority that Temporal would refuse, and values of the wrong type."""
    if not isinstance(priority, Priority):
        raise ConfigurationError(f"{option} must be a temporalio.common.Priority, not {_type_of(priority)}")
    key: object = priority.fairness_key
    if key is not None and (not isinstance(key, str) or len(key.encode()) > _LONGEST_FAIRNESS_KEY):
        raise ConfigurationError(f"{option}: fairness_key must be a text of at most {_LONGEST_FAIRNESS_KEY} bytes")
    if isinstance(key, str) and "\0" in key:
        raise ConfigurationError(f"{option}: fairness_key must not have a zero byte")
    if priority.fairness_weight is not None:
        check_number(f"{option}: fairness_weight", priority.fairness_weight)
        if not priority.fairness_weight >= 0:
            raise ConfigurationError(f"{option}: fairness_weight must not be negative")


def check_number(option: str, value: object, *, whole: bool = False) -> None:
    """Refuse a value that is not a number.

    Args:
        option: name of the option, for the message.
        value: the value.
        whole: the number must be an integer.

    Raises:
        ConfigurationError: `value` is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ConfigurationError(f"{option} must be {'an integer' if whole else 'a number'}, not {_type_of(value)}")


def _type_of(value: object) -> str:
    return type(value).__name__
