"""The handlers of a test: the real ones, and fakes in place of some."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from delegator.contracts import DelegatedType, Handler, collect_handlers, collect_types, delegated_type, signature_types
from delegator.errors import ConfigurationError

Fakes = Mapping[str | Callable[..., Any], Callable[..., Any]]
"""What runs in place of a delegated activity type's handler, by the type's name or by the declared function."""


def handlers_of(sources: Iterable[ModuleType | Callable[..., Any]], fakes: Fakes | None) -> dict[str, Handler]:
    """Return the handlers of a test, by the name of their delegated activity type.

    Args:
        sources: delegated functions, or modules that hold them.
        fakes: what stands in for some of them.

    Raises:
        ConfigurationError: a declaration is wrong, or a fake can't be called or stands for something undeclared.
    """
    sources = list(sources)
    types = collect_types(sources)
    handlers = collect_handlers(sources)
    for faked, function in (fakes or {}).items():
        if not callable(function):
            raise ConfigurationError(f"the fake of {faked!r} can't be called: give a function, not {function!r}")
        declared = delegated_type(faked) if callable(faked) else types.get(faked) or _undeclared(faked, function)
        declared = dataclasses.replace(declared, implemented=True, is_activity=False)
        handlers[declared.name] = Handler(declared, _called(function), is_async=True)
    return handlers


def _undeclared(name: str, fake: Callable[..., Any]) -> DelegatedType:
    """Return the type of a fake whose declaration is in another code base: its own signature says the types."""
    arg_types, return_type = signature_types(fake) if inspect.isroutine(fake) else (None, None)
    return DelegatedType(name=name, arg_types=arg_types, return_type=return_type)


def _called(fake: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `async def` that calls a fake; one that is a plain function, or a mock, runs in a thread."""
    if inspect.iscoroutinefunction(fake):
        return fake

    async def call(*args: Any) -> Any:
        result = await asyncio.to_thread(fake, *args)
        return await result if inspect.isawaitable(result) else result

    return call
