"""Plain jobs: jobs that no workflow waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVarTuple, Unpack, overload

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio.common import Priority, RetryPolicy

from delegator.contracts import DelegatedType, JobOptions
from delegator.errors import ConfigurationError
from delegator.wire.requests import check_unique_id
from delegator.workflow.api import type_called

Ts = TypeVarTuple("Ts")


class PlainJobOptions(TypedDict, total=False):
    """The keywords of `Outbox.enqueue`."""

    job_id: str | None
    delay: timedelta | None
    due_at: datetime | None
    unique_for: timedelta | None
    keep_result: bool
    start_to_close_timeout: timedelta | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    priority: Priority | None


@dataclass(frozen=True, slots=True)
class PlainJob:
    """A job to enqueue. `plain_job` makes it."""

    type: DelegatedType
    """The delegated activity type."""
    args: tuple[Any, ...]
    """The handler's arguments."""
    options: JobOptions
    """Timeouts, retry policy and priority."""
    job_id: str | None = None
    """Its id; None: a new one."""
    due_at: datetime | None = None
    """When the first attempt is due; None: at once, or after the start delay."""
    unique_for: timedelta | None = None
    """How long the id stays taken."""
    keep_result: bool = False
    """Whether the outcome is kept for `JobResults`."""


@overload
def plain_job(
    function: Callable[[*Ts], Awaitable[Any]], /, *args: *Ts, **options: Unpack[PlainJobOptions]
) -> PlainJob: ...
@overload
def plain_job(function: Callable[[*Ts], Any], /, *args: *Ts, **options: Unpack[PlainJobOptions]) -> PlainJob: ...
@overload
def plain_job(
    function: str, /, *args: Any, queue: str = DEFAULT_QUEUE, **options: Unpack[PlainJobOptions]
) -> PlainJob: ...
def plain_job(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
    function: Any,
    /,
    *args: Any,
    queue: str | None = None,
    job_id: str | None = None,
    delay: timedelta | None = None,
    due_at: datetime | None = None,
    unique_for: timedelta | None = None,
    keep_result: bool = False,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    priority: Priority | None = None,
) -> PlainJob:
    """Describe a job, for `Outbox.enqueue_many`. The arguments are those of `Outbox.enqueue`.

    Raises:
        ConfigurationError: `function` is not declared, or an option has the wrong type or is out of range.
        ValueError: `job_id` can't be one.
    """
    declared = type_called(function, queue, None)
    options = JobOptions(
        start_to_close_timeout=start_to_close_timeout,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
        priority=priority,
        start_delay=delay,
    )
    options.validate(declared.name)
    if job_id is not None:
        check_unique_id(job_id)
    if delay is not None and due_at is not None:
        raise ConfigurationError(f"{declared.name}: give delay or due_at, not both")
    if due_at is not None and (not isinstance(due_at, datetime) or due_at.tzinfo is None):
        raise ConfigurationError(f"{declared.name}: due_at must be a datetime with a time zone")
    if unique_for is not None:
        if not isinstance(unique_for, timedelta) or unique_for <= timedelta(0):
            raise ConfigurationError(f"{declared.name}: unique_for must be a positive datetime.timedelta")
        if job_id is None:
            raise ConfigurationError(f"{declared.name}: unique_for needs a job_id: it says how long the id stays taken")
    merged = options.over(declared.options)
    if due_at is not None and merged.start_delay:
        merged = replace(merged, start_delay=None)
    return PlainJob(declared, args, merged, job_id, due_at, unique_for, keep_result)
