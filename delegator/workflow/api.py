"""What workflow code calls for one job: `delegate`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType

from delegator.contracts import CallOptions, DelegatedType, JobOptions, delegated_type
from delegator.errors import ConfigurationError
from delegator.wire.requests import JobRequest
from delegator.workflow.calls import Call, CallGroup
from delegator.workflow.delegations import Delegations

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@overload
async def delegate(
    function: Callable[[*Ts], Awaitable[R]],
    /,
    *args: *Ts,
    job_id: str | None = None,
    unique_id: str | None = None,
    **options: Unpack[CallOptions],
) -> R: ...
@overload
async def delegate(
    function: Callable[[*Ts], R],
    /,
    *args: *Ts,
    job_id: str | None = None,
    unique_id: str | None = None,
    **options: Unpack[CallOptions],
) -> R: ...
@overload
async def delegate(
    function: str,
    /,
    *args: Any,
    queue: str = DEFAULT_QUEUE,
    result_type: type[R],
    job_id: str | None = None,
    unique_id: str | None = None,
    **options: Unpack[CallOptions],
) -> R: ...
@overload
async def delegate(
    function: str,
    /,
    *args: Any,
    queue: str = DEFAULT_QUEUE,
    job_id: str | None = None,
    unique_id: str | None = None,
    **options: Unpack[CallOptions],
) -> Any: ...
async def delegate(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
    function: Any,
    /,
    *args: Any,
    queue: str | None = None,
    result_type: Any = None,
    job_id: str | None = None,
    unique_id: str | None = None,
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
    """Run one delegated job and return its result. For workflow code.

    Args:
        function: what is declared with `@delegated` or `@contract` (a method by its class: `Emails.send`), or the name
            of a delegated activity type.
        args: the handler's arguments.
        queue: the queue, for a type given by name.
        result_type: type of the result, for a type given by name.
        job_id: an id of your own within this workflow run, as an activity id is. By default the call gets an id that a
            replay derives again.
        unique_id: an id of your own across workflows. While a job with this id has not ended, calls of other workflow
            runs with the same id fail. The outcome always comes by signal.
        start_to_close_timeout: longest run of one attempt.
        schedule_to_close_timeout: longest time from now to the outcome, retries included.
        schedule_to_start_timeout: longest time from now to the first claim by a worker.
        heartbeat_timeout: longest time between two heartbeats.
        retry_policy: how failed attempts are repeated.
        inline_wait: how long this workflow task may wait for the outcome; zero turns the wait off.
        priority: as in Temporal, for an ordered queue; a field that is None is taken from the type, then from this
            workflow.
        start_delay: how long the first attempt is put off; timeouts count from its end.
        cancellation_type: what happens to the job when the caller is cancelled, as for Temporal's activities.

    Raises:
        temporalio.exceptions.ActivityError: the job failed, timed out or was canceled; its cause says why.
        ConfigurationError: `function` is not declared, or an option has the wrong type or is out of range.
        ValueError: `job_id` or `unique_id` was already used in this workflow run, or can't be one.
    """
    declared = type_called(function, queue, result_type)
    options = JobOptions(
        start_to_close_timeout,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        heartbeat_timeout,
        retry_policy,
        # A row that waits for its inline reader would keep the id for a while after the job's end.
        inline_wait if unique_id is None else timedelta(0),
        priority,
        start_delay,
    )
    delegations = Delegations.current()
    group = CallGroup(stop_early=True)
    spec = delegations.spec(declared, options, cancellation_type)
    own_id = delegations.ids.chosen(job_id, unique_id)
    header = delegations.header_of(declared.name)
    call = Call(spec, JobRequest(spec.job, delegations.converter.input(args, spec), header, own_id), group)
    delegations.submit(call)
    await delegations.wait(group, cancellation_type)
    return delegations.converter.result(call)


def type_called(function: Callable[..., Any] | str, queue: str | None, result_type: Any) -> DelegatedType:
    """Return the type that a call is for.

    Args:
        function: what is declared, or the type's name.
        queue: for a name: its queue; None: the default one.
        result_type: for a name: the type of its result; None: not known.

    Raises:
        ConfigurationError: `function` is not declared, or has a queue or a result type of its own.
    """
    if isinstance(function, str):
        return DelegatedType(name=function, queue=queue or DEFAULT_QUEUE, return_type=result_type)
    declared = delegated_type(function)
    if queue is not None or result_type is not None:
        raise ConfigurationError(
            f"{declared.name}: `queue` and `result_type` are for a type given by name; a function declares its own"
        )
    return declared
