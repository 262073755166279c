"""What workflow code calls for many jobs: `delegate_map`, `delegate_starmap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType

from delegator.contracts import CallOptions, DelegatedType, JobOptions
from delegator.wire.requests import JobRequest
from delegator.workflow.api import type_called
from delegator.workflow.calls import Call, CallGroup
from delegator.workflow.delegations import Delegations

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@overload
async def delegate_map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[CallOptions],
) -> list[R]: ...
@overload
async def delegate_map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    return_exceptions: Literal[True],
    **options: Unpack[CallOptions],
) -> list[R | BaseException]: ...
@overload
async def delegate_map(
    function: Callable[[T], R],
    items: Iterable[T],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[CallOptions],
) -> list[R]: ...
@overload
async def delegate_map(
    function: Callable[[T], R],
    items: Iterable[T],
    /,
    *,
    return_exceptions: Literal[True],
    **options: Unpack[CallOptions],
) -> list[R | BaseException]: ...
@overload
async def delegate_map(
    function: str,
    items: Iterable[Any],
    /,
    *,
    return_exceptions: Literal[False] = False,
    queue: str = DEFAULT_QUEUE,
    result_type: type[R],
    **options: Unpack[CallOptions],
) -> list[R]: ...
@overload
async def delegate_map(
    function: str,
    items: Iterable[Any],
    /,
    *,
    return_exceptions: Literal[True],
    queue: str = DEFAULT_QUEUE,
    result_type: type[R],
    **options: Unpack[CallOptions],
) -> list[R | BaseException]: ...
@overload
async def delegate_map(
    function: str,
    items: Iterable[Any],
    /,
    *,
    return_exceptions: Literal[False] = False,
    queue: str = DEFAULT_QUEUE,
    **options: Unpack[CallOptions],
) -> list[Any]: ...
@overload
async def delegate_map(
    function: str,
    items: Iterable[Any],
    /,
    *,
    return_exceptions: Literal[True],
    queue: str = DEFAULT_QUEUE,
    **options: Unpack[CallOptions],
) -> list[Any]: ...
async def delegate_map(
    function: Any,
    items: Iterable[Any],
    /,
    *,
    return_exceptions: bool = False,
    queue: str | None = None,
    result_type: Any = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    priority: Priority | None = None,
    start_delay: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> Any:
    """Run one delegated job for each item and return the results in the order of the items. For workflow code.

    Tens of thousands of items are fine. Jobs and outcomes travel in large batches. A `gather` over as many calls of
    `delegate` keeps the workflow's thread busy for twice as long. Temporal's SDK allows two seconds at a time (error
    TMPRL1101), so use `delegate_map` for more than about ten thousand jobs.

    Args:
        function: as for `delegate`; its handler takes one argument.
        items: the argument of each job.
        return_exceptions: put failures among the results instead of raising the first one.
        queue: the queue, for a type given by name.
        result_type: type of each result, for a type given by name.
        start_to_close_timeout: longest run of one attempt.
        schedule_to_close_timeout: longest time from now to the outcome, retries included.
        schedule_to_start_timeout: longest time from now to the first claim by a worker.
        heartbeat_timeout: longest time between two heartbeats.
        retry_policy: how failed attempts are repeated.
        inline_wait: how long this workflow task may wait for the outcomes; zero turns the wait off.
        priority: as in Temporal, for an ordered queue; a field that is None is taken from the type, then from this
            workflow.
        start_delay: how long the first attempt is put off; timeouts count from its end.
        cancellation_type: what happens to the jobs when the caller is cancelled, as for Temporal's activities.

    Raises:
        temporalio.exceptions.ActivityError: a job failed; the other unfinished jobs were canceled.
        ConfigurationError: `function` is not declared, or an option has the wrong type or is out of range.
    """
    options = JobOptions(
        start_to_close_timeout,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        heartbeat_timeout,
        retry_policy,
        inline_wait,
        priority,
        start_delay,
    )
    return await _map(
        type_called(function, queue, result_type),
        [(item,) for item in items],
        options,
        return_exceptions,
        cancellation_type,
    )


@overload
async def delegate_starmap(
    function: Callable[[*Ts], Awaitable[R]],
    items: Iterable[tuple[*Ts]],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[CallOptions],
) -> list[R]: ...
@overload
async def delegate_starmap(
    function: Callable[[*Ts], Awaitable[R]],
    items: Iterable[tuple[*Ts]],
    /,
    *,
    return_exceptions: Literal[True],
    **options: Unpack[CallOptions],
) -> list[R | BaseException]: ...
@overload
async def delegate_starmap(
    function: Callable[[*Ts], R],
    items: Iterable[tuple[*Ts]],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[CallOptions],
) -> list[R]: ...
@overload
async def delegate_starmap(
    function: Callable[[*Ts], R],
    items: Iterable[tuple[*Ts]],
    /,
    *,
    return_exceptions: Literal[True],
    **options: Unpack[CallOptions],
) -> list[R | BaseException]: ...
@overload
async def delegate_starmap(
    function: str,
    items: Iterable[tuple[Any, ...]],
    /,
    *,
    return_exceptions: Literal[False] = False,
    queue: str = DEFAULT_QUEUE,
    result_type: type[R],
    **options: Unpack[CallOptions],
) -> list[R]: ...
@overload
async def delegate_starmap(
    function: str,
    items: Iterable[tuple[Any, ...]],
    /,
    *,
    return_exceptions: Literal[True],
    queue: str = DEFAULT_QUEUE,
    result_type: type[R],
    **options: Unpack[CallOptions],
) -> list[R | BaseException]: ...
@overload
async def delegate_starmap(
    function: str,
    items: Iterable[tuple[Any, ...]],
    /,
    *,
    return_exceptions: Literal[False] = False,
    queue: str = DEFAULT_QUEUE,
    **options: Unpack[CallOptions],
) -> list[Any]: ...
@overload
async def delegate_starmap(
    function: str,
    items: Iterable[tuple[Any, ...]],
    /,
    *,
    return_exceptions: Literal[True],
    queue: str = DEFAULT_QUEUE,
    **options: Unpack[CallOptions],
) -> list[Any]: ...
async def delegate_starmap(
    function: Any,
    items: Iterable[Any],
    /,
    *,
    return_exceptions: bool = False,
    queue: str | None = None,
    result_type: Any = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    priority: Priority | None = None,
    start_delay: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> Any:
    """Like `delegate_map`, for a function of several arguments: each item is a tuple of them.

    Args:
        function: as for `delegate`.
        items: the arguments of each job, as a tuple.
        return_exceptions: put failures among the results instead of raising the first one.
        queue: the queue, for a type given by name.
        result_type: type of each result, for a type given by name.
        start_to_close_timeout: longest run of one attempt.
        schedule_to_close_timeout: longest time from now to the outcome, retries included.
        schedule_to_start_timeout: longest time from now to the first claim by a worker.
        heartbeat_timeout: longest time between two heartbeats.
        retry_policy: how failed attempts are repeated.
        inline_wait: how long this workflow task may wait for the outcomes; zero turns the wait off.
        priority: as in Temporal, for an ordered queue; a field that is None is taken from the type, then from this
            workflow.
        start_delay: how long the first attempt is put off; timeouts count from its end.
        cancellation_type: what happens to the jobs when the caller is cancelled, as for Temporal's activities.

    Raises:
        temporalio.exceptions.ActivityError: a job failed; the other unfinished jobs were canceled.
        ConfigurationError: `function` is not declared, or an option has the wrong type or is out of range.
    """
    options = JobOptions(
        start_to_close_timeout,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        heartbeat_timeout,
        retry_policy,
        inline_wait,
        priority,
        start_delay,
    )
    return await _map(
        type_called(function, queue, result_type), list(items), options, return_exceptions, cancellation_type
    )


async def _map(
    declared: DelegatedType,
    items: Sequence[tuple[Any, ...]],
    options: JobOptions,
    return_exceptions: bool,
    cancellation_type: ActivityCancellationType,
) -> list[Any]:
    delegations = Delegations.current()
    spec = delegations.spec(declared, options, cancellation_type)
    encode = delegations.converter.input
    group = CallGroup(stop_early=not return_exceptions, converter=delegations.converter)
    job, request = spec.job, JobRequest._make
    header = delegations.header_of(declared.name, len(items)) if items else b""
    delegations.submit_all([Call(spec, request((job, encode(args, spec), header, None)), group) for args in items])
    await delegations.wait(group, cancellation_type)
    unresolved = [call for call in group.calls if call.outcome is None]
    if unresolved:
        await delegations.cancel(unresolved)
    if group.first_failed is not None:
        delegations.converter.result(group.first_failed)
    results = []
    for call in group.calls:
        try:
            results.append(delegations.converter.result(call))
        except Exception as error:
            if not return_exceptions:
                raise
            results.append(error)
    return results
