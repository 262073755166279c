"""Finds declarations in the sources that workers and plugins are given: modules, functions, objects."""

from __future__ import annotations

import functools
import inspect
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeAlias, TypeGuard

from delegator_schema.queues import DEFAULT_QUEUE

from delegator.contracts.resources import Resource
from delegator.contracts.types import (
    DECLARATION_ATTRIBUTE,
    DYNAMIC_TYPE,
    DelegatedType,
    Handler,
    TypesByName,
    argument_names,
    declaration_of,
    delegated_type,
    is_async,
    name_of,
    signature_types,
    takes_self,
)
from delegator.errors import ConfigurationError

_TEMPORAL_ATTRIBUTE = "__temporal_activity_definition"
_ONE_OF_TWO: Final = "give one of them another name (name=...), or leave one of them out"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A delegated activity type, and its handler if there is one here."""

    type: DelegatedType
    """The type."""
    function: Callable[..., Any] | None
    """The handler; None: it is elsewhere, or it is a method and there is no object."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a worker found in its sources."""

    handlers: dict[str, Handler]
    """By delegated activity type."""
    resources: tuple[Resource[Any], ...]
    """In the order in which they are opened."""


Source: TypeAlias = ModuleType | Declaration | Callable[..., Any] | Resource[Any] | object
"""A module; a declared function, bound method or callable object; an object or a class with declared methods; a
resource; what `existing_activities` returns; or a list or another iterable of these."""


def collect_types(sources: Iterable[Source]) -> TypesByName:
    """Return the types that sources declare, contracts included, by name.

    Raises:
        ConfigurationError: two declarations of one type differ, or a source declares nothing.
    """
    types = TypesByName()
    places: dict[str, str] = {}
    for source in flattened(sources):
        for declaration in declarations_in(source):
            declared = declaration.type
            function = declaration.function or source
            place = _place(function) if inspect.isroutine(function) else _named(source)
            if types.setdefault(declared.name, declared) != declared:
                raise ConfigurationError(
                    f"two declarations of the delegated activity type {declared.name!r} differ: "
                    f"{places[declared.name]} and {place}; {_ONE_OF_TWO}"
                )
            places.setdefault(declared.name, place)
    return types


def flattened(sources: Iterable[Source]) -> list[Source]:
    """Return the sources. Lists and other iterables of sources are replaced by what is in them."""
    found: list[Source] = []
    for source in sources:
        found += flattened(source) if _is_group(source) else [source]
    return found


def collect_handlers(sources: Iterable[Source]) -> dict[str, Handler]:
    """Return the handlers in sources, by the name of their type. Contracts are left out.

    Raises:
        ConfigurationError: two functions implement one type, or a source declares nothing.
    """
    return collect(sources).handlers


def collect(sources: Iterable[Source]) -> Declared:
    """Return the handlers and the resources in sources.

    Raises:
        ConfigurationError: two functions implement one type, or a source declares nothing.
    """
    handlers: dict[str, Handler] = {}
    sources = flattened(sources)
    for source in sources:
        for declared, function in ((found.type, found.function) for found in declarations_in(source)):
            if function is None:
                if not isinstance(source, ModuleType | Declaration):
                    raise ConfigurationError(_why_no_handler(source, declared))
                continue
            known = handlers.get(declared.name)
            if known is not None and known.function != function:
                raise ConfigurationError(_why_two_handlers(declared, known.function, function))
            handlers[declared.name] = Handler(declared, function, is_async(function))
    return Declared(handlers, tuple(resources_in(sources)))


def existing_activities(*sources: Source, queue: str = DEFAULT_QUEUE) -> list[Declaration]:
    """Make delegated activity types of existing `@activity.defn` functions and methods. They need no edit.

    Give the result to `DelegatorPlugin(..., intercept=True)` and to `HttpWorker`. Unchanged
    `workflow.execute_activity` calls then become delegated jobs, with the timeouts and the retry policy of the call.
    A function with `@delegated` keeps its own declaration.

    Args:
        sources: modules, functions, methods of objects, objects that have such methods, or lists of these.
        queue: the queue of their jobs.

    Raises:
        ConfigurationError: a source has no activity.
    """
    found: list[Declaration] = []
    for source in flattened(sources):
        here = _existing(source, queue)
        if not here:
            raise ConfigurationError(
                f"{_named(source)} has no activity: nothing in it has @activity.defn or @delegated"
            )
        found += here
    return found


def activities_in(module: ModuleType) -> list[Declaration]:
    """Return the activities of a module that are not delegated."""
    return [
        found
        for found in _existing(module, DEFAULT_QUEUE)
        if found.function is None or declaration_of(found.function) is None
    ]


def declarations_in(source: Source) -> list[Declaration]:
    """Return the declarations of a source. A module may have none.

    Raises:
        ConfigurationError: the source is not a module, and declares nothing.
    """
    if isinstance(source, Declaration):
        return [source]
    if isinstance(source, ModuleType):
        return [one for value in _values(source) for one in _in_value(value, None)]
    found = list(_in_value(source, None))
    if not found and not isinstance(source, Resource):
        raise ConfigurationError(_why_no_declaration(source))
    return found


def types_used_by(workflows: Iterable[type]) -> dict[str, DelegatedType]:
    """Return the types whose declared functions the modules of workflows have by name, or one of their modules has.

    Args:
        workflows: the classes. What their code imports within functions is not seen.
    """
    types: dict[str, DelegatedType] = {}
    for module in dict.fromkeys(sys.modules.get(workflow.__module__) for workflow in workflows):
        values = [] if module is None else _values(module)
        for value in (*values, *(inner for one in values if isinstance(one, ModuleType) for inner in _values(one))):
            declared = declaration_of(value) if inspect.isfunction(value) else None
            if declared is not None:
                types.setdefault(declared.name, declared)
    return types


def resources_in(sources: Iterable[Source]) -> list[Resource[Any]]:
    """Return the resources that are given directly or stand in modules."""
    found = [
        value
        for source in flattened(sources)
        for value in (_values(source) if isinstance(source, ModuleType) else [source])
        if isinstance(value, Resource)
    ]
    return list(dict.fromkeys(found))


def _is_group(source: Source) -> TypeGuard[Iterable[Source]]:
    """Return whether this is an iterable of sources. An object with declared methods is a source, even if iterable."""
    if isinstance(source, type | str | bytes | Mapping | Declaration) or not isinstance(source, Iterable):
        return False
    return not _has_mark(source) and next(_methods(type(source)), None) is None


def _existing(source: Source, queue: str) -> list[Declaration]:
    values = _values(source) if isinstance(source, ModuleType) else [source]
    return [one for value in values for one in _in_value(value, queue)]


def _values(module: ModuleType) -> list[object]:
    return list(vars(module).values())


def _in_value(value: object, activity_queue: str | None) -> Iterator[Declaration]:
    """Find the declarations of one value.

    Args:
        value: anything.
        activity_queue: the queue of existing activities; None: they are left out.
    """
    if isinstance(value, ModuleType):
        return
    if isinstance(value, Resource):
        owner = value.value_type()
        for name, function, of_class in _methods(owner) if owner is not None else ():
            method = _AsyncResourceMethod if is_async(function) else _ResourceMethod
            yield from _of(function, of_class or method(value, name, function), activity_queue)
    elif isinstance(value, type):
        for _, function, of_class in _methods(value):
            yield from _of(function, of_class, activity_queue)
    elif inspect.isroutine(value):
        yield from _of(value, None if takes_self(value) else value, activity_queue)
    elif callable(value) and _has_mark(value):
        yield from _of(value, value, activity_queue)
    else:
        for name, function, of_class in _methods(type(value)):
            # A static or class method is taken from the class, so that several objects give one handler.
            yield from _of(function, of_class or getattr(value, name), activity_queue)


def _has_mark(value: object) -> bool:
    # Not getattr: proxies answer it in their own way, or raise an error.
    names = (DECLARATION_ATTRIBUTE, _TEMPORAL_ATTRIBUTE)
    return any(inspect.getattr_static(value, name, None) is not None for name in names)


def _methods(owner: type) -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any] | None]]:
    """Return the declared functions of a class and of its bases. Overridden ones are left out.

    Returns:
        For each its name, its function, and, for a static or class method, what can be called without an object.
    """
    seen: set[str] = set()
    for base in owner.__mro__:
        for name, attribute in list(vars(base).items()) if base.__module__ != "builtins" else ():
            needs_none = isinstance(attribute, staticmethod | classmethod)
            function = attribute.__func__ if needs_none else attribute
            if name not in seen and inspect.isfunction(function) and _has_mark(function):
                yield name, function, getattr(owner, name) if needs_none else None
            seen.add(name)


def _of(
    function: Callable[..., Any], handler: Callable[..., Any] | None, activity_queue: str | None
) -> Iterator[Declaration]:
    if isinstance(getattr(function, DECLARATION_ATTRIBUTE, None), DelegatedType):
        declared = delegated_type(function)
        yield Declaration(declared, handler if declared.implemented else None)
        return
    defined = getattr(function, _TEMPORAL_ATTRIBUTE, None)
    if activity_queue is None or defined is None:
        return
    arg_types, return_type = signature_types(function)
    arg_names, optional_args = argument_names(function)
    yield Declaration(
        DelegatedType(
            name=defined.name or DYNAMIC_TYPE,
            queue=activity_queue,
            arg_types=arg_types if defined.name else None,
            return_type=return_type if defined.name else None,
            arg_names=arg_names,
            optional_args=optional_args,
            is_activity=True,
            interruptible=False,
            is_method=takes_self(function),
        ),
        handler,
    )


@dataclass(frozen=True)
class _ResourceMethod:
    """A method of the object that a resource yields. It carries the method's declaration and its names."""

    resource: Resource[Any]
    name: str
    function: Callable[..., Any]

    def __post_init__(self) -> None:
        # Interceptors read the names, as those of Temporal's samples do (`input.fn.__qualname__`).
        named = {name: getattr(self.function, name) for name in functools.WRAPPER_ASSIGNMENTS}
        vars(self).update(vars(self.function), **named)

    def __call__(self, *args: Any) -> Any:
        return getattr(self.resource.get(), self.name)(*args)


class _AsyncResourceMethod(_ResourceMethod):
    """A method that is an `async def`."""

    async def __call__(self, *args: Any) -> Any:
        return await super().__call__(*args)


def _why_no_handler(source: Source, declared: DelegatedType) -> str:
    if declared.implemented:
        return f"{name_of(source)} needs an object: give the worker one of its class, or the method of one"
    return f"{name_of(source)} is a contract: give the worker a function that @implements it"


def _why_two_handlers(declared: DelegatedType, one: Callable[..., Any], other: Callable[..., Any]) -> str:
    first, second = _place(one), _place(other)
    if first == second:
        return (
            f"two handlers for the delegated activity type {declared.name!r}: {first} of two objects; "
            "give the worker one object"
        )
    return f"two handlers for the delegated activity type {declared.name!r}: {first} and {second}; {_ONE_OF_TWO}"


def _why_no_declaration(source: Source) -> str:
    if isinstance(source, str):
        return f"{reprlib.repr(source)} is a text: import the module, and give the module itself"
    name = name_of(source)
    if any(_existing(source, DEFAULT_QUEUE)):
        return f"{name} is not a delegated activity type: give existing_activities(...) for activities as they are"
    if callable(source):
        return f"{name} is not a delegated activity type: decorate it with @delegated"
    return (
        f"{name} declares no delegated activity type: give modules, declared functions, objects with declared methods, "
        "or what existing_activities returns"
    )


def _place(function: Callable[..., Any]) -> str:
    """Return where a handler is: its module and name, and the file and the line if they are known."""
    if isinstance(function, _ResourceMethod):
        return f"{_place(function.function)} of the resource {function.resource.name}"
    named = function if hasattr(function, "__qualname__") else type(function)
    place = f"{named.__module__}.{named.__qualname__}"
    code = getattr(inspect.unwrap(function), "__code__", None)
    return place if code is None else f"{place} ({code.co_filename}, line {code.co_firstlineno})"


def _named(source: object) -> str:
    return f"the module {source.__name__}" if isinstance(source, ModuleType) else name_of(source)
