"""Delegated activity types, and the declaration that a function carries."""

from __future__ import annotations

import inspect
import reprlib
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from delegator_schema.queues import DEFAULT_QUEUE, is_queue_name

from delegator.contracts.fleet_limits import FleetLimits
from delegator.contracts.options import DEFAULT_OPTIONS, JobOptions, check_number
from delegator.errors import ConfigurationError

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

DECLARATION_ATTRIBUTE: Final = "__delegated__"
DYNAMIC_TYPE: Final = "(dynamic)"
"""The name under which an `@activity.defn(dynamic=True)` handler is kept. It runs the jobs of all types without one."""


class Delegated(Protocol[P, R_co]):
    """The type that type checkers see for a declared function. At run time it is the function itself.

    A method is called on its object as usual. The class's attribute (`Emails.send`) has the signature without `self`.
    Give it to `delegate` and `workflow.execute_activity`: it means the method of the worker's object.
    """

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function itself."""

    @overload
    def __get__(self: Delegated[Concatenate[S, Q], R], instance: None, owner: type[S], /) -> Callable[Q, R]: ...
    @overload
    def __get__(self: Delegated[Concatenate[S, Q], R], instance: S, owner: type[S], /) -> Callable[Q, R]: ...


@dataclass(frozen=True, slots=True)
class DelegatedType:
    """A delegated activity type."""

    name: str
    """The activity type's name, as in Temporal."""
    queue: str = DEFAULT_QUEUE
    """The queue of its jobs."""
    options: JobOptions = DEFAULT_OPTIONS
    """Defaults for each of its jobs."""
    arg_types: tuple[Any, ...] | None = None
    """Types of the arguments, for the data converter; None: not known."""
    return_type: Any = None
    """Type of the result, for the data converter; None: not known."""
    arg_names: tuple[str, ...] = field(default=(), compare=False)
    """Names of the arguments, for those who read the declaration; empty: not known."""
    optional_args: int = field(default=0, compare=False)
    """How many of the last arguments have a default."""
    max_concurrent: int | None = field(default=None, compare=False)
    """Most jobs of this type that one worker process runs at once; None: the worker's limit. More jobs are snoozed."""
    max_per_second: float | None = field(default=None, compare=False)
    """Most jobs of this type that one worker process starts in a second; None: no limit."""
    fleet_limits: FleetLimits | None = field(default=None, compare=False)
    """Limits that all workers of the queue keep together; None: there are none."""
    implemented: bool = field(default=True, compare=False)
    """False for a contract: its handler is elsewhere."""
    is_activity: bool = field(default=False, compare=False)
    """True if the function also has `@activity.defn`: the handler may use the functions of `temporalio.activity`."""
    in_activity_context: bool = field(default=True, compare=False)
    """Whether the handler may run in Temporal's activity context. False for an `async def` with `@delegated` only."""
    interruptible: bool = field(default=True, compare=False)
    """Whether a cancellation interrupts the handler wherever it is. False: as in Temporal, its next heartbeat tells it
    of the cancellation, and a handler that sends none runs to its end."""
    is_method: bool = field(default=False, compare=False)
    """True if it is declared in a class: the handler needs an object of the class."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: a value has the wrong type, or is out of range.
        """
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(
                f"a delegated activity type's name must be a text that is not empty: {reprlib.repr(self.name)}"
            )
        if not isinstance(self.queue, str) or not is_queue_name(self.queue):
            raise ConfigurationError(f"{self.name}: {self.queue!r} is not a queue name (a-z, 0-9, _)")
        self.options.validate(self.name)
        if not isinstance(self.interruptible, bool):
            raise ConfigurationError(f"{self.name}: interruptible must be True or False")
        if self.max_concurrent is not None:
            check_number(f"{self.name}: max_concurrent", self.max_concurrent, whole=True)
            if self.max_concurrent < 1:
                raise ConfigurationError(f"{self.name}: max_concurrent must be at least 1")
        if self.max_per_second is not None:
            check_number(f"{self.name}: max_per_second", self.max_per_second)
            if self.max_per_second <= 0:
                raise ConfigurationError(f"{self.name}: max_per_second must be positive")
        if self.fleet_limits is not None:
            if not isinstance(self.fleet_limits, FleetLimits):
                raise ConfigurationError(f"{self.name}: fleet_limits must be a delegator.FleetLimits")
            self.fleet_limits.validate(self.name)

    @property
    def is_dynamic(self) -> bool:
        """Whether its handler runs the jobs of all types that have no handler. It gets one list of `RawValue`."""
        return self.name == DYNAMIC_TYPE


@dataclass(frozen=True, slots=True)
class Handler:
    """A delegated activity type with the function that runs its jobs."""

    type: DelegatedType
    """The declaration."""
    function: Callable[..., Any]
    """The implementation; a plain function runs in a thread."""
    is_async: bool
    """Whether it is an `async def`."""


def declaration_of(function: object) -> DelegatedType | None:
    """Return the declaration that a callable carries; None: it carries none."""
    declared = getattr(function, DECLARATION_ATTRIBUTE, None)
    if not isinstance(declared, DelegatedType):
        # An object whose class has a declared __call__ is called like a function.
        called = inspect.getattr_static(type(function), "__call__", None)
        declared = getattr(called, DECLARATION_ATTRIBUTE, None)
    return declared if isinstance(declared, DelegatedType) else None


def delegated_type(function: Callable[..., Any]) -> DelegatedType:
    """Return the declaration of a function.

    Raises:
        ConfigurationError: it has none.
    """
    declared = declaration_of(function)
    if declared is None:
        raise ConfigurationError(f"{name_of(function)} is not a delegated activity type: decorate it with @delegated")
    return declared


def signature_types(function: Callable[..., Any]) -> tuple[tuple[Any, ...] | None, Any]:
    """Return the types of a callable's positional arguments (None if not all are annotated) and of its result.

    Raises:
        ConfigurationError: an annotation uses a name that does not exist at run time.
    """
    called = function if inspect.isroutine(function) else type(function).__call__
    try:
        hints = typing.get_type_hints(called)
    except NameError as error:
        raise ConfigurationError(
            f"{name_of(function)}: {error}, which an annotation needs: import it at run time too, above the function"
        ) from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arg_types: list[Any] = []
    parameters = list(inspect.signature(function).parameters.values())
    if takes_self(function):
        del parameters[0]
    for parameter in parameters:
        if parameter.kind not in positional or parameter.name not in hints:
            return None, hints.get("return")
        arg_types.append(hints[parameter.name])
    return tuple(arg_types), hints.get("return")


def argument_names(function: Callable[..., Any]) -> tuple[tuple[str, ...], int]:
    """Return the names of a callable's arguments, and how many of the last ones have a default."""
    parameters = list(inspect.signature(function).parameters.values())[takes_self(function) :]
    optional = sum(parameter.default is not inspect.Parameter.empty for parameter in parameters)
    return tuple(parameter.name for parameter in parameters), optional


def takes_self(function: Callable[..., Any]) -> bool:
    """Return whether this is a method that is not bound to an object."""
    if not inspect.isfunction(function):
        return False
    owner = function.__qualname__.rpartition(".")[0]
    if not owner or owner.endswith("<locals>"):
        return False
    return next(iter(inspect.signature(function).parameters), None) in ("self", "cls")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether the result of a call must be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def name_of(function: object) -> str:
    """Return the name of a callable for a message, or the class of another object: its text may be long or secret."""
    return (
        getattr(function, "__qualname__", None)
        or f"an object of {type(function).__module__}.{type(function).__qualname__}"
    )


class TypesByName(dict[str, DelegatedType]):
    """Delegated activity types by name. If one is dynamic, every name has a type."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return the type of a name, or `default`."""
        found = super().get(name)
        if found is None and DYNAMIC_TYPE in self:
            return replace(self[DYNAMIC_TYPE], name=name)
        return default if found is None else found
