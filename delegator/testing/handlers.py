"""The handlers of a test: the real ones, fakes in place of some, and what they share."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import reprlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

from delegator.contracts import (
    Declared,
    DelegatedType,
    Handler,
    Resource,
    Source,
    collect,
    collect_types,
    delegated_type,
    opened_resources,
    signature_types,
)
from delegator.contracts.collect import flattened
from delegator.errors import ConfigurationError
from http_workers.threads import with_storable_error

Fakes: TypeAlias = Mapping[str | Callable[..., Any], Callable[..., Any]]
"""What runs in place of a delegated activity type's handler, by the type's name or by the declared function."""

Provided: TypeAlias = Mapping[Resource[Any], Any]
"""The values of resources that are not to be opened."""


def declared_in(sources: Iterable[Source], fakes: Fakes | None) -> Declared:
    """Return the handlers of a test, and the resources they use.

    Args:
        sources: what a worker is given.
        fakes: what stands in for some of the handlers.

    Raises:
        ConfigurationError: a declaration is wrong, or a fake can't be called or stands for something undeclared.
    """
    sources = flattened(sources)
    types = collect_types(sources)
    declared = collect(sources)
    for faked, function in (fakes or {}).items():
        if not callable(function):
            raise ConfigurationError(
                f"the fake of {faked!r} can't be called: give a function, not {reprlib.repr(function)}"
            )
        one = types.get(faked) or _undeclared(faked, function) if isinstance(faked, str) else delegated_type(faked)
        one = dataclasses.replace(one, implemented=True, is_activity=False, in_activity_context=False)
        declared.handlers[one.name] = Handler(one, _called(function), is_async=True)
    return declared


@asynccontextmanager
async def resources_of(declared: Declared, provided: Provided) -> AsyncIterator[None]:
    """Open the resources that handlers share; those that are provided have the given values.

    Args:
        declared: the handlers and their resources.
        provided: values by resource.

    Raises:
        ResourceError: one of them can't be opened or closed.
    """
    with provide_all(provided):
        async with opened_resources(one for one in declared.resources if one not in provided):
            yield


def provide_all(provided: Provided) -> ExitStack:
    """Let resources have the given values while the returned context is open."""
    stack = ExitStack()
    for one, value in provided.items():
        stack.enter_context(one.provide(value))
    return stack


def _undeclared(name: str, fake: Callable[..., Any]) -> DelegatedType:
    """Return the type of a fake whose declaration is in another code base: its own signature says the types."""
    arg_types, return_type = signature_types(fake) if inspect.isroutine(fake) else (None, None)
    return DelegatedType(name=name, arg_types=arg_types, return_type=return_type)


def _called(fake: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `async def` that calls a fake; one that is a plain function, or a mock, runs in a thread."""
    if inspect.iscoroutinefunction(fake):
        return fake

    async def call(*args: Any) -> Any:
        result = await asyncio.to_thread(with_storable_error, partial(fake, *args))
        return await result if inspect.isawaitable(result) else result

    return call
