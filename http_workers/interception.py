"""The user's activity interceptors, in the order in which Temporal's worker runs them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from temporalio import activity
from temporalio.api.common.v1 import Header, Payload
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from delegator.errors import ConfigurationError

_HEARTBEAT_SECONDS = 10  # as in the SDK

Run = Callable[[ExecuteActivityInput, Callable[..., Any]], Awaitable[Any]]
"""Runs a plain function in a thread: the input, and the function to call in place of the input's."""


def checked_interceptors(interceptors: Sequence[Interceptor]) -> tuple[Interceptor, ...]:
    """Return interceptors of a worker.

    Raises:
        ConfigurationError: one is no `temporalio.worker.Interceptor`.
    """
    for interceptor in interceptors:
        if not isinstance(interceptor, Interceptor):
            raise ConfigurationError(
                f"interceptors: an object of {type(interceptor).__module__}.{type(interceptor).__qualname__} is no "
                "temporalio.worker.Interceptor"
            )
    return tuple(interceptors)


async def intercepted(
    interceptors: Sequence[Interceptor], input: ExecuteActivityInput, context: activity._Context, run: Run
) -> Any:
    """Run an activity through interceptors.

    Args:
        interceptors: the first one is the outermost.
        input: the activity.
        context: the current activity context.
        run: runs plain functions.
    """
    # They may ask for `activity.info()` before `init`. Heartbeats are possible after it only.
    info, heartbeat = context.info, context.heartbeat
    assert heartbeat is not None
    context.heartbeat = None
    inbound: ActivityInboundInterceptor = _Inbound(context, run)
    for interceptor in reversed(interceptors):
        inbound = interceptor.intercept_activity(inbound)
    inbound.init(_Outbound(info, heartbeat))
    return await inbound.execute_activity(input)


def headers_of(header: bytes | None) -> Mapping[str, Payload]:
    """Return the headers of a call.

    Args:
        header: the row's `header`.
    """
    return {} if header is None else dict(Header.FromString(header).fields)


class _Inbound(ActivityInboundInterceptor):
    """The end of the chain: it calls the function."""

    def __init__(self, context: activity._Context, run: Run) -> None:
        self._context = context
        self._run = run

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self._context.info = outbound.info
        self._context.heartbeat = outbound.heartbeat

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        function = input.fn
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            return await function(*input.args)
        in_thread = self._thread_context(asyncio.get_running_loop())

        def call(*args: Any) -> Any:
            activity._Context.set(in_thread)
            return function(*args)

        return await self._run(input, call)

    def _thread_context(self, loop: asyncio.AbstractEventLoop) -> activity._Context:
        """Return the context of a plain function. Outbound interceptors run in the event loop, as in the SDK."""
        context = self._context
        info, heartbeat = context.info(), context.heartbeat

        async def send(details: Sequence[Any]) -> None:
            activity._Context.set(context)
            assert heartbeat is not None
            heartbeat(*details)

        def send_from_thread(*details: Any) -> None:
            asyncio.run_coroutine_threadsafe(send(details), loop).result(_HEARTBEAT_SECONDS)

        return replace(context, info=lambda: info, heartbeat=send_from_thread)


class _Outbound(ActivityOutboundInterceptor):
    """The end of the outbound chain."""

    def __init__(self, info: Callable[[], activity.Info], heartbeat: Callable[..., None]) -> None:
        self._info = info
        self._heartbeat = heartbeat

    def info(self) -> activity.Info:
        return self._info()

    def heartbeat(self, *details: Any) -> None:
        self._heartbeat(*details)
