"""The decorators that declare delegated activity types."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio import activity
from temporalio.common import Priority, RetryPolicy

from delegator.contracts.fleet_limits import FleetLimits
from delegator.contracts.options import JobOptions, TypeOptions
from delegator.contracts.types import (
    DECLARATION_ATTRIBUTE,
    Delegated,
    DelegatedType,
    argument_names,
    declaration_of,
    is_async,
    name_of,
    signature_types,
    takes_self,
)
from delegator.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

_TEMPORAL_ATTRIBUTE = "__temporal_activity_definition"


@overload
def delegated(function: Callable[P, R], /) -> Delegated[P, R]: ...
@overload
def delegated(
    *,
    name: str | None = None,
    queue: str = DEFAULT_QUEUE,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
    fleet_limits: FleetLimits | None = None,
    interruptible: bool | None = None,
    **options: Unpack[TypeOptions],
) -> Callable[[Callable[P, R]], Delegated[P, R]]: ...
def delegated(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    queue: str = DEFAULT_QUEUE,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    priority: Priority | None = None,
    start_delay: timedelta | None = None,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
    fleet_limits: FleetLimits | None = None,
    interruptible: bool | None = None,
) -> Any:
    """Declare a function, a method or a callable object as a delegated activity type, run by HTTP workers.

    The decorator does not change it: call it in a unit test, register it with an ordinary Temporal worker, or give it
    to `delegate` and `workflow.execute_activity`. An `async def` runs in the worker's event loop, a plain `def` in a
    thread. For a class with declared methods, give the worker an object, and name the method in workflows by its class:
    `Emails.send`.

    Args:
        function: what to declare.
        name: the activity type; by default the name of `@activity.defn`, else the function's name.
        queue: the queue of its jobs.
        start_to_close_timeout: longest run of one attempt.
        schedule_to_close_timeout: longest time from enqueue to outcome, retries included.
        schedule_to_start_timeout: longest time from enqueue to the first claim.
        heartbeat_timeout: longest time between two heartbeats.
        retry_policy: Temporal's retry policy; by default Temporal's default policy.
        inline_wait: how long a workflow task may wait for the outcome; zero turns the wait off.
        priority: Temporal's priority and fairness, for an ordered queue.
        start_delay: how long the first attempt is put off.
        max_concurrent: most jobs of the type that one worker process runs at once.
        max_per_second: most jobs of the type that one worker process starts in a second.
        fleet_limits: limits that all workers of the queue keep together.
        interruptible: whether a cancellation interrupts the handler wherever it is. False: as in Temporal, its next
            heartbeat tells it of the cancellation. Default: False for a function with `@activity.defn`, else True.

    Raises:
        ConfigurationError: a value has the wrong type or is out of range, or the function can't be a handler.
    """
    options = JobOptions(
        start_to_close_timeout=start_to_close_timeout,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
        inline_wait=inline_wait,
        priority=priority,
        start_delay=start_delay,
    )

    def decorate(function: Callable[..., Any]) -> Any:
        return _declare(
            function,
            name,
            queue,
            options,
            max_concurrent=max_concurrent,
            max_per_second=max_per_second,
            fleet_limits=fleet_limits,
            interruptible=interruptible,
        )

    return decorate if function is None else decorate(function)


def contract(
    *,
    name: str | None = None,
    queue: str = DEFAULT_QUEUE,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    priority: Priority | None = None,
    start_delay: timedelta | None = None,
) -> Callable[[Callable[P, R]], Delegated[P, R]]:
    """Declare a delegated activity type whose handler is in another code base or language.

    The decorated function is only a signature and is never run. Write `raise NotImplementedError` as its body, because
    mypy refuses `...` in a function that returns a value. See `implements`.

    Args:
        name: as for `delegated`. So are the other arguments.
    """
    options = JobOptions(
        start_to_close_timeout=start_to_close_timeout,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
        inline_wait=inline_wait,
        priority=priority,
        start_delay=start_delay,
    )

    def decorate(function: Callable[P, R]) -> Delegated[P, R]:
        declared: Delegated[P, R] = _declare(function, name, queue, options, implemented=False)
        return declared

    return decorate


class Implements(Protocol[P, R]):
    """The decorator that `implements` returns. It takes a function or a method with the contract's signature."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Delegated[P, Awaitable[R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Awaitable[R]], /
    ) -> Delegated[Concatenate[Any, P], Awaitable[R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Delegated[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Delegated[Concatenate[Any, P], R]: ...


@overload
def implements(
    declaration: Callable[P, Awaitable[R]],
    /,
    *,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
    fleet_limits: FleetLimits | None = None,
    interruptible: bool | None = None,
) -> Implements[P, R]: ...
@overload
def implements(
    declaration: Callable[P, R],
    /,
    *,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
    fleet_limits: FleetLimits | None = None,
    interruptible: bool | None = None,
) -> Implements[P, R]: ...
def implements(
    declaration: Callable[..., Any],
    /,
    *,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
    fleet_limits: FleetLimits | None = None,
    interruptible: bool | None = None,
) -> Any:
    """Declare a function as the handler of a contract. A type checker compares the two signatures.

    The handler may be an `async def`, a plain `def` or a method. The contract need not be of the same kind.

    Args:
        declaration: the function decorated with `contract`.
        max_concurrent: most jobs of the type that one worker process runs at once.
        max_per_second: most jobs of the type that one worker process starts in a second.
        fleet_limits: limits that all workers of the queue keep together.
        interruptible: as for `delegated`.

    Raises:
        ConfigurationError: `declaration` is no contract, a limit is out of range, or the parameters differ in number.
    """
    declared = declaration_of(declaration)
    if declared is None or declared.implemented:
        raise ConfigurationError(f"{name_of(declaration)} is not a contract: decorate it with @contract")
    promised = declared.arg_names

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        _refuse_what_cannot_run(function)
        if len(argument_names(function)[0]) != len(promised):
            raise ConfigurationError(
                f"{name_of(function)} implements {declared.name} and must have its parameters: ({', '.join(promised)})"
            )
        defined = getattr(function, _TEMPORAL_ATTRIBUTE, None)
        kept = replace(
            declared,
            max_concurrent=max_concurrent,
            max_per_second=max_per_second,
            fleet_limits=fleet_limits,
            implemented=True,
            is_activity=defined is not None,
            in_activity_context=_in_activity_context(function, defined),
            interruptible=_is_interruptible(interruptible, defined),
            is_method=takes_self(function),
        )
        return _mark(function, kept, defined is not None)

    return decorate


def _declare(
    function: Callable[..., Any],
    name: str | None,
    queue: str,
    options: JobOptions,
    *,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
    fleet_limits: FleetLimits | None = None,
    interruptible: bool | None = None,
    implemented: bool = True,
) -> Any:
    _refuse_what_cannot_run(function)
    defined = getattr(function, _TEMPORAL_ATTRIBUTE, None)
    if name is None:
        name = _default_name(function) if defined is None else defined.name
    if name is None:
        raise ConfigurationError(
            f"{name_of(function)}: a dynamic activity has no name: give it by existing_activities(...)"
        )
    if defined is not None and defined.name != name:
        raise ConfigurationError(f"{name}: @activity.defn calls it {defined.name!r}; give one name only")
    arg_types, return_type = signature_types(function)
    arg_names, optional_args = argument_names(function)
    declared = DelegatedType(
        name=name,
        queue=queue,
        options=options,
        arg_types=arg_types,
        return_type=return_type,
        arg_names=arg_names,
        optional_args=optional_args,
        max_concurrent=max_concurrent,
        max_per_second=max_per_second,
        fleet_limits=fleet_limits,
        implemented=implemented,
        is_activity=defined is not None,
        in_activity_context=not implemented or _in_activity_context(function, defined),
        interruptible=_is_interruptible(interruptible, defined),
        is_method=takes_self(function),
    )
    return _mark(function, declared, defined is not None)


def _in_activity_context(function: Callable[..., Any], defined: object) -> bool:
    return defined is not None or not is_async(function)


def _is_interruptible(asked: bool | None, defined: object) -> bool:
    return defined is None if asked is None else asked


def _mark(function: Callable[..., Any], declared: DelegatedType, is_activity: bool) -> Callable[..., Any]:
    try:
        if not is_activity:
            function = activity.defn(name=declared.name)(function)
        setattr(function, DECLARATION_ATTRIBUTE, declared)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{declared.name}: {error}") from None
    return function


def _default_name(function: Callable[..., Any]) -> str:
    if not inspect.isroutine(function):
        return type(function).__name__
    name: str = function.__name__
    return function.__qualname__.split(".")[-2] if name == "__call__" and takes_self(function) else name


def _refuse_what_cannot_run(function: object) -> None:
    if isinstance(function, (staticmethod, classmethod)):
        raise ConfigurationError(
            f"{name_of(function)}: put @{type(function).__name__} above the delegator's decorator, not below it"
        )
    if inspect.isclass(function):
        raise ConfigurationError(f"{name_of(function)} is a class: decorate its methods, and give workers an object")
    if not callable(function):
        raise ConfigurationError(
            f"{reprlib.repr(function)} can't be called: options go by name, as in @delegated(name='...')"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{name_of(function)}: a handler returns its result, it can't yield")
