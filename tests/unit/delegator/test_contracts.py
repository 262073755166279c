"""Declaring delegated activity types."""

from __future__ import annotations

import types
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.common import RetryPolicy

from delegator import contract, delegated, existing_activities
from delegator.contracts import JobOptions, collect_handlers, collect_types, delegated_type
from delegator.errors import ConfigurationError
from tests.unit.delegator import declared


async def test_bare_declaration():
    """`@delegated` without options leaves the function callable, and records its name and types."""
    assert await declared.bare(2, "ab") == b"abab"
    found = delegated_type(declared.bare)
    assert (found.name, found.queue, found.options) == ("bare", "default", JobOptions())
    assert (found.arg_types, found.return_type) == ((int, str), bytes)


def test_a_declaration_with_options():
    found = delegated_type(declared.with_options)
    assert (found.name, found.queue, found.max_concurrent, found.max_per_second) == ("renamed", "video", 2, 0.5)
    assert found.options == JobOptions(start_to_close_timeout=timedelta(seconds=3), inline_wait=timedelta(0))
    assert declared.with_options(3) == 3


def test_declaration_is_activity():
    """A delegated function is also a Temporal activity of the same name."""
    for function, name in ((declared.bare, "bare"), (declared.with_options, "renamed")):
        assert activity._Definition.must_from_callable(function).name == name


def test_declaration_over_activity():
    """A declaration over an existing activity takes the activity's name."""
    assert delegated_type(declared.over_activity).name == "from temporal"


def test_interruptible():
    """A cancellation interrupts a function, but not an activity, unless its declaration says otherwise."""

    @activity.defn
    async def existing() -> None: ...

    @activity.defn
    async def asked() -> None: ...

    @delegated(interruptible=False)
    async def left_alone() -> None: ...

    (found,) = existing_activities(existing)
    types = [delegated_type(declared.bare), found.type, delegated_type(left_alone)]
    assert [declared.interruptible for declared in types] == [True, False, False]
    assert not delegated_type(delegated(existing)).interruptible
    assert delegated_type(delegated(interruptible=True)(asked)).interruptible
    with pytest.raises(ConfigurationError, match="must be True or False"):
        delegated(interruptible="yes")(asked)  # type: ignore[call-overload]


def test_two_names():
    """A declaration that gives an activity a second name is refused."""

    @activity.defn(name="one")
    async def function() -> None: ...

    with pytest.raises(ConfigurationError, match="one name only"):
        delegated(name="two")(function)


def test_contract():
    """A contract has no handler until a function implements it."""
    only_contract = types.ModuleType("only_contract")
    only_contract.promised = declared.promised  # type: ignore[attr-defined]
    assert delegated_type(declared.promised).queue == "elsewhere"
    assert list(collect_types([only_contract])) == ["promised"]
    assert collect_handlers([only_contract]) == {}
    handler = collect_handlers([declared])["promised"]
    assert handler.function is declared.kept
    assert (handler.type.queue, handler.type.arg_types, handler.type.return_type) == ("elsewhere", (int,), str)


def test_collect_handlers():
    """Handlers are collected from modules and from single functions."""
    handlers = collect_handlers([declared])
    assert sorted(handlers) == ["bare", "from temporal", "promised", "renamed"]
    assert handlers["bare"].is_async and not handlers["renamed"].is_async
    assert list(collect_types([declared.bare, declared.with_options])) == ["bare", "renamed"]
    assert collect_handlers([declared, declared.bare])["bare"].function is declared.bare


def test_two_handlers():
    """Two handlers of one type are refused."""

    @delegated(name="bare")
    async def another(number: int, name: str) -> bytes:
        return b""

    with pytest.raises(
        ConfigurationError,
        match=r"type 'bare': .*declared.bare \(.*, line \d+\) and .*another \(.*; give one of them",
    ):
        collect_handlers([declared, another])


def test_two_declarations():
    """Two different declarations of one type are refused."""

    @contract(name="bare", queue="video")
    async def another(number: int, name: str) -> bytes: ...

    with pytest.raises(
        ConfigurationError,
        match="two declarations .* type 'bare' differ: .*declared.bare .* and .*test_contracts.*another.*; give",
    ):
        collect_types([declared, another])


def test_an_undeclared_function_is_named():
    async def plain() -> None: ...

    with pytest.raises(ConfigurationError, match="plain is not a delegated activity type: decorate it with @delegated"):
        delegated_type(plain)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ({"queue": "No Queue"}, "is not a queue name"),
        ({"start_to_close_timeout": timedelta(0)}, "start_to_close_timeout must be positive"),
        ({"heartbeat_timeout": timedelta(seconds=-1)}, "heartbeat_timeout must not be negative"),
        ({"inline_wait": timedelta(seconds=-1)}, "inline_wait must not be negative"),
        (
            {"start_to_close_timeout": 3},
            r"start_to_close_timeout must be a datetime.timedelta, not int: write timedelta",
        ),
        ({"schedule_to_start_timeout": timedelta(0)}, "schedule_to_start_timeout must be positive"),
        ({"retry_policy": 3}, "retry_policy must be a temporalio.common.RetryPolicy, not int"),
        ({"retry_policy": RetryPolicy(maximum_attempts=1.5)}, "maximum_attempts must be an integer, not float"),
        ({"retry_policy": RetryPolicy(maximum_interval=3)}, "maximum_interval must be a datetime.timedelta"),
        ({"retry_policy": RetryPolicy(non_retryable_error_types="E")}, "non_retryable_error_types must be a list"),
        ({"max_concurrent": True}, "max_concurrent must be an integer, not bool"),
        ({"max_per_second": "2"}, "max_per_second must be a number, not str"),
        ({"queue": 3}, "is not a queue name"),
        ({"max_concurrent": 0}, "max_concurrent must be at least 1"),
        ({"max_per_second": 0}, "max_per_second must be positive"),
        ({"retry_policy": RetryPolicy(backoff_coefficient=0.5)}, "backoff_coefficient must be at least 1"),
        ({"retry_policy": RetryPolicy(maximum_attempts=-1)}, "maximum_attempts must not be negative"),
        ({"retry_policy": RetryPolicy(initial_interval=timedelta(-1))}, "initial_interval must not be negative"),
        ({"retry_policy": RetryPolicy(maximum_interval=timedelta(-1))}, "maximum_interval must not be negative"),
    ],
)
def test_values_out_of_range_are_refused(declaration: dict[str, Any], message: str):
    async def function() -> None: ...

    with pytest.raises(ConfigurationError, match=message):
        delegated(**declaration)(function)


def test_call_options():
    """The options of a call override those of the type."""
    base = JobOptions(start_to_close_timeout=timedelta(1), heartbeat_timeout=timedelta(2))
    call = JobOptions(start_to_close_timeout=timedelta(3), inline_wait=timedelta(0))
    assert call.over(base) == JobOptions(
        start_to_close_timeout=timedelta(3), heartbeat_timeout=timedelta(2), inline_wait=timedelta(0)
    )


def test_options_key():
    """Options that differ in any field have different keys."""
    options = JobOptions(start_to_close_timeout=timedelta(seconds=1), retry_policy=RetryPolicy(maximum_attempts=2))
    policy = options.retry_policy
    assert policy is not None
    changed = [
        replace(options, **{field.name: timedelta(seconds=7)})
        for field in fields(JobOptions)
        if field.name != "retry_policy"
    ]
    others: dict[str, Any] = {"backoff_coefficient": 3.0, "non_retryable_error_types": ["Fatal"]}
    for field in fields(RetryPolicy):
        other = others.get(field.name, 9 if field.type == "int" else timedelta(seconds=9))
        changed.append(replace(options, retry_policy=replace(policy, **{field.name: other})))
    assert len({options.key(), JobOptions().key(), *(other.key() for other in changed)}) == len(changed) + 2


def test_equal_options_have_one_key():
    def options() -> JobOptions:
        return JobOptions(inline_wait=timedelta(0), retry_policy=RetryPolicy(non_retryable_error_types=["a", "b"]))

    assert len({options().key(), options().key()}) == 1
