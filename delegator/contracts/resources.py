"""Resources that the handlers of one worker process share. They open before the first job and close after the last."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar

from delegator.errors import ConfigurationError, ResourceError, in_one_line

T = TypeVar("T")

_opened: Final[ContextVar[Mapping[Resource[Any], Any]]] = ContextVar("delegator_resources")


class Resource(Generic[T]):
    """A declared resource. It holds no value: each worker opens its own."""

    def __init__(self, function: Callable[[], AsyncIterator[T]]) -> None:
        """Declare the resource; see `resource`."""
        if not inspect.isasyncgenfunction(function) or inspect.signature(function).parameters:
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigurationError(
                f"{name}: a resource is an `async def` without parameters that yields its value once"
            )
        self._open = asynccontextmanager(function)
        self._function = function
        self.name: str = f"{function.__module__}.{function.__qualname__}"
        """Module and function, for messages."""
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<resource {self.name}>"

    def get(self) -> T:
        """Return the value that this worker opened. Handlers and later resources call it.

        Raises:
            ConfigurationError: no worker has opened it here.
        """
        try:
            value: T = _opened.get()[self]
        except LookupError:
            raise ConfigurationError(
                f"the resource {self.name} is not open here: only handlers of a worker that was given its module can "
                "use it (in a test: `with ...provide(value):`)"
            ) from None
        return value

    @contextmanager
    def provide(self, value: T) -> Iterator[T]:
        """Let `get` return this value within the block, for example in a unit test of a handler.

        Args:
            value: the value; it may be a fake.
        """
        token = _opened.set({**_opened.get({}), self: value})
        try:
            yield value
        finally:
            _opened.reset(token)

    def open(self) -> AbstractAsyncContextManager[T]:
        """Return the context manager that opens a new value. For workers."""
        return self._open()

    def value_type(self) -> type | None:
        """Return the class of the value if the function's annotation names one."""
        try:
            annotation = typing.get_type_hints(self._function).get("return")
        except NameError:
            return None
        arguments = typing.get_args(annotation)
        return arguments[0] if arguments and isinstance(arguments[0], type) else None


def resource(function: Callable[[], AsyncIterator[T]], /) -> Resource[T]:
    """Declare what the handlers of a worker process share, such as a connection pool.

        @resource
        async def database() -> AsyncIterator[Pool]:
            async with create_pool(URL) as pool:
                yield pool

        @delegated
        async def save(order: Order) -> None:
            await database.get().execute(...)

    A worker that is given the module opens the resource before its first job and closes it after its last one. The code
    after `yield` always runs. Resources open in the order of their declaration, so one may use those before it.
    If the annotation names a class with delegated methods, these methods become handlers too.

    Args:
        function: an `async def` without parameters that yields the value once.

    Raises:
        ConfigurationError: the function has another form.
    """
    return Resource(function)


@asynccontextmanager
async def opened_resources(resources: Iterable[Resource[Any]]) -> AsyncIterator[None]:
    """Open resources for the running task and the tasks made in the block. Close them in reverse order. For workers.

    Args:
        resources: in the order in which they are opened.

    Raises:
        ResourceError: one of them can't be opened or closed.
    """
    values = dict(_opened.get({}))
    token = _opened.set(values)
    try:
        async with AsyncExitStack() as stack:
            for one in resources:
                values[one] = await stack.enter_async_context(_with_named_errors(one))
            yield
    finally:
        _opened.reset(token)


@asynccontextmanager
async def _with_named_errors(one: Resource[T]) -> AsyncIterator[T]:
    """Open a resource and close it. Its errors name it. An error of the block does not reach the resource."""
    manager = one.open()
    try:
        value = await manager.__aenter__()
    except Exception as error:
        raise ResourceError(f"the resource {one.name} can't be opened: {in_one_line(error)}") from error
    try:
        yield value
    finally:
        try:
            await manager.__aexit__(None, None, None)
        except Exception as error:
            raise ResourceError(f"the resource {one.name} can't be closed: {in_one_line(error)}") from error
