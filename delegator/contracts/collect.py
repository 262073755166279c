"""Finding declarations in what workers and plugins are given: modules, functions, objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

from delegator_schema.queues import DEFAULT_QUEUE

from delegator.contracts.resources import Resource
from delegator.contracts.types import (
    DECLARATION_ATTRIBUTE,
    DelegatedType,
    Handler,
    declaration_of,
    delegated_type,
    is_async,
    name_of,
    signature_types,
    takes_self,
)
from delegator.errors import ConfigurationError

_TEMPORAL_ATTRIBUTE = "__temporal_activity_definition"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A delegated activity type, with its handler if that is here."""

    type: DelegatedType
    """The type."""
    function: Callable[..., Any] | None
    """The handler; None: it is elsewhere, or a method for which there is no object."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a worker works with."""

    handlers: dict[str, Handler]
    """By delegated activity type."""
    resources: tuple[Resource[Any], ...]
    """In the order in which they are to be opened."""


Source: TypeAlias = ModuleType | Declaration | Callable[..., Any] | Resource[Any] | object
"""What can be given: a module; a function, bound method or callable object that is declared; an object or a class whose
methods are; a resource; what `existing_activities` returns."""


def collect_types(sources: Iterable[Source]) -> dict[str, DelegatedType]:
    """Return the types declared by sources, contracts included, by name.

    Raises:
        ConfigurationError: a type is declared twice, differently, or a source declares nothing.
    """
    types: dict[str, DelegatedType] = {}
    for source in sources:
        for declaration in declarations_in(source):
            declared = declaration.type
            if types.setdefault(declared.name, declared) != declared:
                raise ConfigurationError(f"two declarations of the delegated activity type {declared.name!r}")
    return types


def collect_handlers(sources: Iterable[Source]) -> dict[str, Handler]:
    """Return the handlers found in sources, by the name of their type; contracts are left out.

    Raises:
        ConfigurationError: two functions implement one type, or a source declares nothing.
    """
    return collect(sources).handlers


def collect(sources: Iterable[Source]) -> Declared:
    """Return the handlers and the resources found in sources.

    Raises:
        ConfigurationError: two functions implement one type, or a source declares nothing.
    """
    handlers: dict[str, Handler] = {}
    sources = list(sources)
    for source in sources:
        for declared, function in ((found.type, found.function) for found in declarations_in(source)):
            if function is None:
                if not isinstance(source, ModuleType | Declaration):
                    raise ConfigurationError(_why_no_handler(source, declared))
                continue
            known = handlers.get(declared.name)
            if known is not None and known.function != function:
                raise ConfigurationError(f"two handlers for the delegated activity type {declared.name!r}")
            handlers[declared.name] = Handler(declared, function, is_async(function))
    return Declared(handlers, tuple(resources_in(sources)))


def existing_activities(*sources: Source, queue: str = DEFAULT_QUEUE) -> list[Declaration]:
    """Take existing `@activity.defn` functions and methods as delegated activity types, without an edit.

    Give the result to `DelegatorPlugin(..., intercept=True)` and to `HttpWorker`: unchanged
    `workflow.execute_activity` calls then become delegated jobs, with the timeouts and the retry policy of the call.
    What is declared with `@delegated` beside them keeps its own declaration.

    Args:
        sources: modules, functions, methods of objects, or objects that have such methods.
        queue: the queue their jobs go to.

    Raises:
        ConfigurationError: a source has no activity.
    """
    found: list[Declaration] = []
    for source in sources:
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
    """Return what a source declares; nothing, if it is a module without declarations.

    Raises:
        ConfigurationError: another source that declares nothing.
    """
    if isinstance(source, Declaration):
        return [source]
    if isinstance(source, ModuleType):
        return [one for value in _values(source) for one in _in_value(value, None)]
    found = list(_in_value(source, None))
    if not found and not isinstance(source, Resource):
        delegated_type(source)  # type: ignore[arg-type]  # says what is missing
    return found


def resources_in(sources: Iterable[Source]) -> list[Resource[Any]]:
    """Return the resources among sources and in modules."""
    found = [
        value
        for source in sources
        for value in (_values(source) if isinstance(source, ModuleType) else [source])
        if isinstance(value, Resource)
    ]
    return list(dict.fromkeys(found))


def _existing(source: Source, queue: str) -> list[Declaration]:
    values = _values(source) if isinstance(source, ModuleType) else [source]
    return [one for value in values for one in _in_value(value, queue)]


def _values(module: ModuleType) -> list[object]:
    return list(vars(module).values())


def _in_value(value: object, activity_queue: str | None) -> Iterator[Declaration]:
    """Find what one value declares.

    Args:
        value: anything.
        activity_queue: the queue of existing activities; None: they are none of our business.
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
            # Of a static or class method the class's own is taken, so that it is one, however many objects there are.
            yield from _of(function, of_class or getattr(value, name), activity_queue)


def _has_mark(value: object) -> bool:
    # Not getattr, which proxies answer in their own way, or with an error.
    names = (DECLARATION_ATTRIBUTE, _TEMPORAL_ATTRIBUTE)
    return any(inspect.getattr_static(value, name, None) is not None for name in names)


def _methods(owner: type) -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any] | None]]:
    """Return the declared functions of a class and of its bases, those that another one hides left out.

    Returns:
        Each one's name and function; and what can be called without an object, if it is a static or a class method.
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
    if activity_queue is None or defined is None or defined.name is None:
        return
    arg_types, return_type = signature_types(function)
    yield Declaration(
        DelegatedType(
            name=defined.name,
            queue=activity_queue,
            arg_types=arg_types,
            return_type=return_type,
            is_activity=True,
            is_method=takes_self(function),
        ),
        handler,
    )


@dataclass(frozen=True)
class _ResourceMethod:
    """A method of the object that a resource yields; it carries the method's declarations."""

    resource: Resource[Any]
    name: str
    function: Callable[..., Any]

    def __post_init__(self) -> None:
        vars(self).update(vars(self.function))

    def __call__(self, *args: Any) -> Any:
        return getattr(self.resource.get(), self.name)(*args)


class _AsyncResourceMethod(_ResourceMethod):
    """One that is an `async def`."""

    async def __call__(self, *args: Any) -> Any:
        return await super().__call__(*args)


def _why_no_handler(source: Source, declared: DelegatedType) -> str:
    if declared.implemented:
        return f"{name_of(source)} needs an object: give the worker one of its class, or the method of one"
    return f"{name_of(source)} is a contract: give the worker a function that @implements it"


def _named(source: object) -> str:
    return f"the module {source.__name__}" if isinstance(source, ModuleType) else name_of(source)
