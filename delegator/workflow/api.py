"""What workflow code calls: `delegate`, `delegate_map`, `delegate_starmap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, TypeVarTuple, overload

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

from delegator.contracts import DEFAULT_OPTIONS, DelegatedType, JobOptions, delegated_type
from delegator.wire.requests import JobRequest
from delegator.workflow.calls import Call, CallGroup
from delegator.workflow.delegations import Delegations

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@overload
async def delegate(
    function: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    job_id: str | None = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> R: ...
@overload
async def delegate(
    function: str,
    *args: Any,
    queue: str = DEFAULT_QUEUE,
    result_type: type[R],
    job_id: str | None = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> R: ...
@overload
async def delegate(
    function: str,
    *args: Any,
    queue: str = DEFAULT_QUEUE,
    job_id: str | None = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> Any: ...
async def delegate(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
    function: Any,
    *args: Any,
    queue: str = DEFAULT_QUEUE,
    result_type: Any = None,
    job_id: str | None = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    inline_wait: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> Any:
    """Run one delegated job and return its result. For workflow code.

    Args:
        function: a function declared with `@delegated` or `@contract`, or the name of a delegated activity type.
        args: the handler's arguments.
        queue: the queue, for a type given by name.
        result_type: type of the result, for a type given by name.
        job_id: an id of your own; by default one that is unique to this call and stable over replays.
        start_to_close_timeout: longest run of one attempt.
        schedule_to_close_timeout: longest time from now to the outcome, retries included.
        heartbeat_timeout: longest time between two heartbeats.
        retry_policy: how failed attempts are repeated.
        inline_wait: how long this workflow task may wait for the outcome; zero: never.
        cancellation_type: what a cancellation of the caller means for the job, as for Temporal's activities.

    Raises:
        temporalio.exceptions.ActivityError: the job failed, timed out or was canceled; its cause says why.
        ConfigurationError: `function` is not declared, or an option is out of range.
        ValueError: `job_id` was already used in this workflow run, or can't be one.
    """
    declared = _declared(function, queue, result_type)
    options = JobOptions(
        start_to_close_timeout=start_to_close_timeout,
        schedule_to_close_timeout=schedule_to_close_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
        inline_wait=inline_wait,
    )
    delegations = Delegations.current()
    group = CallGroup(stop_early=True)
    spec = delegations.spec(declared, options, cancellation_type)
    call = Call(spec, JobRequest(spec.job, delegations.converter.input(args), b"", job_id), group)
    delegations.submit(call)
    await delegations.wait(group, cancellation_type)
    return delegations.converter.result(call)


@overload
async def delegate_map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    return_exceptions: Literal[False] = False,
    options: JobOptions | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> list[R]: ...
@overload
async def delegate_map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    return_exceptions: Literal[True],
    options: JobOptions | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> list[R | BaseException]: ...
async def delegate_map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    return_exceptions: bool = False,
    options: JobOptions | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> Any:
    """Run one delegated job for each item and return the results in the order of the items. For workflow code.

    Tens of thousands of items are fine: they are enqueued, and their outcomes come back, in large batches. As many
    calls of `delegate` in a `gather` keep the workflow's thread busy for twice as long, and Temporal's SDK gives it two
    seconds at a time (its error TMPRL1101): beyond some ten thousand, use this.

    Args:
        function: a function declared with `@delegated` or `@contract`, of one argument.
        items: the arguments.
        return_exceptions: put failures among the results instead of raising the first one.
        options: what each job asks of its execution, over what the type says.
        cancellation_type: what a cancellation of the caller means for the jobs.

    Raises:
        temporalio.exceptions.ActivityError: a job failed; the unfinished others were canceled.
        ConfigurationError: `function` is not declared.
    """
    return await _map(function, [(item,) for item in items], return_exceptions, options, cancellation_type)


@overload
async def delegate_starmap(
    function: Callable[[*Ts], Awaitable[R]],
    items: Iterable[tuple[*Ts]],
    *,
    return_exceptions: Literal[False] = False,
    options: JobOptions | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> list[R]: ...
@overload
async def delegate_starmap(
    function: Callable[[*Ts], Awaitable[R]],
    items: Iterable[tuple[*Ts]],
    *,
    return_exceptions: Literal[True],
    options: JobOptions | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> list[R | BaseException]: ...
async def delegate_starmap(
    function: Callable[[*Ts], Awaitable[R]],
    items: Iterable[tuple[*Ts]],
    *,
    return_exceptions: bool = False,
    options: JobOptions | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
) -> Any:
    """Like `delegate_map`, for a function of several arguments: each item is a tuple of them.

    Args:
        function: as for `delegate_map`, like the others.
        items: the tuples of arguments.
        return_exceptions: put failures among the results instead of raising the first one.
        options: what each job asks of its execution.
        cancellation_type: what a cancellation of the caller means for the jobs.

    Raises:
        temporalio.exceptions.ActivityError: a job failed; the unfinished others were canceled.
    """
    return await _map(function, list(items), return_exceptions, options, cancellation_type)


async def _map(
    function: Callable[..., Awaitable[Any]],
    items: Sequence[tuple[Any, ...]],
    return_exceptions: bool,
    options: JobOptions | None,
    cancellation_type: ActivityCancellationType,
) -> list[Any]:
    declared = delegated_type(function)
    delegations = Delegations.current()
    spec = delegations.spec(declared, options or DEFAULT_OPTIONS, cancellation_type)
    encode = delegations.converter.input
    group = CallGroup(stop_early=not return_exceptions, converter=delegations.converter)
    job, request = spec.job, JobRequest._make
    delegations.submit_all([Call(spec, request((job, encode(args), b"", None)), group) for args in items])
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


def _declared(function: Callable[..., Any] | str, queue: str, result_type: Any) -> DelegatedType:
    if isinstance(function, str):
        return DelegatedType(name=function, queue=queue, return_type=result_type)
    return delegated_type(function)
