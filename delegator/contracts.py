"""Delegated activity types: one declaration serves the workflow (typed call) and the worker (handler)."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, overload

from delegator_schema.queues import DEFAULT_QUEUE, is_queue_name
from temporalio import activity
from temporalio.common import RetryPolicy

from delegator.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

_ATTRIBUTE = "__delegated__"
_TEMPORAL_ATTRIBUTE = "__temporal_activity_definition"


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a call asks of the execution of its job; None means: what the type says, else the default."""

    start_to_close_timeout: timedelta | None = None
    """Longest run of one attempt; enforced by the worker, from a second on to a tenth of a second. Default: none."""
    schedule_to_close_timeout: timedelta | None = None
    """Longest time from enqueue to the final outcome, retries included. Default: none."""
    schedule_to_start_timeout: timedelta | None = None
    """Longest time from enqueue to the first claim. Default: none."""
    heartbeat_timeout: timedelta | None = None
    """Longest time between two heartbeats of a handler. Default: none."""
    retry_policy: RetryPolicy | None = None
    """As in Temporal: by default 1 s, doubling, at most 100 s apart, without end."""
    inline_wait: timedelta | None = None
    """How long the enqueueing local activity waits for the outcome; zero: never. Default: the worker's."""

    def validate(self, owner: str) -> None:
        """Refuse what can't work.

        Args:
            owner: the delegated activity type, for the message.

        Raises:
            ConfigurationError: a value is out of range.
        """
        for option in _OPTION_NAMES:
            value = getattr(self, option)
            if isinstance(value, timedelta) and (value < timedelta(0) or (not value and option != "inline_wait")):
                raise ConfigurationError(f"{owner}: {option} must be positive")
        policy = self.retry_policy
        if policy is not None and (problem := _retry_problem(policy)) is not None:
            raise ConfigurationError(f"{owner}: retry_policy: {problem}")

    def over(self, base: JobOptions) -> JobOptions:
        """Return these options, with what they leave open taken from `base`."""
        if self is base:
            return self
        mine = {name: value for name in _OPTION_NAMES if (value := getattr(self, name)) is not None}
        return replace(base, **mine)

    def key(self) -> tuple[Any, ...]:
        """Return what tells these options from others: unlike them, since a retry policy is no key, fit for a dict."""
        return (
            self.start_to_close_timeout,
            self.schedule_to_close_timeout,
            self.schedule_to_start_timeout,
            self.heartbeat_timeout,
            retry_key(self.retry_policy),
            self.inline_wait,
        )


_OPTION_NAMES = tuple(JobOptions.__dataclass_fields__)
DEFAULT_OPTIONS = JobOptions()


def retry_key(policy: RetryPolicy | None) -> tuple[Any, ...] | None:
    """Return what tells a retry policy from others; see `JobOptions.key`."""
    if policy is None:
        return None
    return (
        policy.initial_interval,
        policy.backoff_coefficient,
        policy.maximum_interval,
        policy.maximum_attempts,
        tuple(policy.non_retryable_error_types or ()),
    )


def _retry_problem(policy: RetryPolicy) -> str | None:
    """Return what Temporal would refuse in a retry policy."""
    if policy.initial_interval < timedelta(0):
        return "initial_interval must not be negative"
    if policy.backoff_coefficient < 1:
        return "backoff_coefficient must be at least 1"
    if policy.maximum_interval is not None and policy.maximum_interval < timedelta(0):
        return "maximum_interval must not be negative"
    if policy.maximum_attempts < 0:
        return "maximum_attempts must not be negative"
    return None


@dataclass(frozen=True, slots=True)
class DelegatedType:
    """A delegated activity type."""

    name: str
    """The activity type's name, as in Temporal."""
    queue: str = DEFAULT_QUEUE
    """The queue its jobs go to."""
    options: JobOptions = DEFAULT_OPTIONS
    """Defaults for each of its jobs."""
    arg_types: tuple[Any, ...] | None = None
    """Types of the arguments, for the data converter; None: not known."""
    return_type: Any = None
    """Type of the result, for the data converter; None: not known."""
    max_concurrent: int | None = None
    """Most jobs of this type that one worker process runs at once; None: the worker's limit. Others are put off."""
    max_per_second: float | None = None
    """Most jobs of this type that one worker process starts in a second; None: no limit."""
    implemented: bool = field(default=True, compare=False)
    """False for a contract: its handler is elsewhere."""
    is_activity: bool = field(default=False, compare=False)
    """Declared over `@activity.defn`: the handler may use the functions of `temporalio.activity`."""

    def __post_init__(self) -> None:
        """Refuse what can't work.

        Raises:
            ConfigurationError: a value is out of range.
        """
        if not self.name:
            raise ConfigurationError("a delegated activity type needs a name")
        if not is_queue_name(self.queue):
            raise ConfigurationError(f"{self.name}: {self.queue!r} is not a queue name (a-z, 0-9, _)")
        self.options.validate(self.name)
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ConfigurationError(f"{self.name}: max_concurrent must be at least 1")
        if self.max_per_second is not None and self.max_per_second <= 0:
            raise ConfigurationError(f"{self.name}: max_per_second must be positive")


@dataclass(frozen=True, slots=True)
class Handler:
    """A delegated activity type with the function that runs its jobs."""

    type: DelegatedType
    """The declaration."""
    function: Callable[..., Any]
    """The implementation; a plain function runs in a thread."""
    is_async: bool
    """Whether it is an `async def`."""


@overload
def delegated(function: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...
@overload
def delegated(
    *,
    name: str | None = None,
    queue: str = DEFAULT_QUEUE,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    max_concurrent: int | None = None,
    max_per_second: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def delegated(function: Callable[..., Any] | None = None, /, **declaration: Any) -> Any:
    """Declare a function as a delegated activity type, run by HTTP workers.

    The function stays what it is: call it in a unit test, register it with an ordinary Temporal worker, or give
    it to `delegate` and `workflow.execute_activity`.

    Args:
        name: the activity type; by default that of `@activity.defn`, else the function's name.
        queue: the queue its jobs go to.
        start_to_close_timeout: longest run of one attempt.
        schedule_to_close_timeout: longest time from enqueue to outcome, retries included.
        heartbeat_timeout: longest time between two heartbeats.
        retry_policy: Temporal's retry policy; by default Temporal's default.
        inline_wait: how long a workflow task may wait for the outcome; zero: never.
        max_concurrent: most jobs of the type that one worker process runs at once.
        max_per_second: most jobs of the type that one worker process starts in a second.

    Raises:
        ConfigurationError: a value is out of range.
    """
    if function is not None:
        return _declare(function, {}, implemented=True)
    return lambda function: _declare(function, declaration, implemented=True)


def contract(
    *,
    name: str | None = None,
    queue: str = DEFAULT_QUEUE,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Declare a delegated activity type whose handler is in another code base or language.

    The decorated function is only a signature; write `...` as its body. See `implements`.

    Args:
        name: as for `delegated`, like the others.
    """
    declaration = {
        "name": name,
        "queue": queue,
        "start_to_close_timeout": start_to_close_timeout,
        "schedule_to_close_timeout": schedule_to_close_timeout,
        "heartbeat_timeout": heartbeat_timeout,
        "retry_policy": retry_policy,
        "inline_wait": inline_wait,
    }
    return lambda function: _declare(function, declaration, implemented=False)


def implements(
    declaration: Callable[P, Awaitable[R]],
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Declare a function as the handler of a contract; a type checker compares the two signatures.

    Args:
        declaration: the function decorated with `contract`.
    """

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        setattr(function, _ATTRIBUTE, replace(delegated_type(declaration), implemented=True))
        return function

    return decorate


def delegated_type(function: Callable[..., Any]) -> DelegatedType:
    """Return the declaration of a function.

    Raises:
        ConfigurationError: it has none.
    """
    declared = getattr(function, _ATTRIBUTE, None)
    if not isinstance(declared, DelegatedType):
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(f"{name} is not a delegated activity type: decorate it with @delegated")
    return declared


def collect_types(sources: Iterable[ModuleType | Callable[..., Any]]) -> dict[str, DelegatedType]:
    """Return the types declared by functions, or by the functions in modules, by name.

    Raises:
        ConfigurationError: a type is declared twice, differently.
    """
    types: dict[str, DelegatedType] = {}
    for declared, _ in _declarations(sources):
        if types.setdefault(declared.name, declared) != declared:
            raise ConfigurationError(f"two declarations of the delegated activity type {declared.name!r}")
    return types


def collect_handlers(sources: Iterable[ModuleType | Callable[..., Any]]) -> dict[str, Handler]:
    """Return the handlers found in modules, by the name of their type; contracts are left out.

    Raises:
        ConfigurationError: two functions implement one type.
    """
    handlers: dict[str, Handler] = {}
    for declared, function in _declarations(sources):
        if not declared.implemented:
            continue
        known = handlers.get(declared.name)
        if known is not None and known.function is not function:
            raise ConfigurationError(f"two handlers for the delegated activity type {declared.name!r}")
        handlers[declared.name] = Handler(declared, function, inspect.iscoroutinefunction(function))
    return handlers


def _declarations(
    sources: Iterable[ModuleType | Callable[..., Any]],
) -> Iterable[tuple[DelegatedType, Callable[..., Any]]]:
    for source in sources:
        if isinstance(source, ModuleType):
            for value in list(vars(source).values()):
                declared = getattr(value, _ATTRIBUTE, None)
                if isinstance(declared, DelegatedType):
                    yield declared, value
        else:
            yield delegated_type(source), source


def _declare(function: Callable[..., Any], declaration: Mapping[str, Any], *, implemented: bool) -> Callable[..., Any]:
    defined = getattr(function, _TEMPORAL_ATTRIBUTE, None)
    given = declaration.get("name")
    name = given or (defined.name if defined is not None else None) or function.__name__
    if defined is not None and defined.name != name:
        raise ConfigurationError(f"{name}: @activity.defn calls it {defined.name!r}; give one name only")
    arg_types, return_type = signature_types(function)
    declared = DelegatedType(
        name=name,
        queue=declaration.get("queue", DEFAULT_QUEUE),
        options=JobOptions(**{k: v for k, v in declaration.items() if k in _OPTION_NAMES}),
        arg_types=arg_types,
        return_type=return_type,
        max_concurrent=declaration.get("max_concurrent"),
        max_per_second=declaration.get("max_per_second"),
        implemented=implemented,
        is_activity=defined is not None,
    )
    if defined is None:
        function = activity.defn(name=name)(function)
    setattr(function, _ATTRIBUTE, declared)
    return function


def signature_types(function: Callable[..., Any]) -> tuple[tuple[Any, ...] | None, Any]:
    """Return the types of a function's positional arguments (None if not all are annotated) and of its result."""
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # an annotation that exists for type checkers only
        return None, None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arg_types: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self" and not arg_types:
            continue
        if parameter.kind not in positional or parameter.name not in hints:
            return None, hints.get("return")
        arg_types.append(hints[parameter.name])
    return tuple(arg_types), hints.get("return")
