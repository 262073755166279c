"""How a handler that is a plain function, an activity or intercepted is called. The others are simply awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import CancelledError, TimeoutType
from temporalio.worker import ExecuteActivityInput, Interceptor

from delegator.contracts import Handler
from delegator.wire.contexts import row_facts
from delegator.wire.options import decode_task_retry
from delegator.wire.requests import activity_id_in
from delegator.wire.task_tokens import TaskToken, pack_task_token
from http_workers.activity_context import ActivitySurroundings, RunningActivity
from http_workers.interception import headers_of, intercepted
from http_workers.job import Job
from http_workers.threads import with_storable_error

LEAST_WATCHED_SECONDS: Final = 1.0
"""A shorter limit has its own timer, which costs as much as the rest of a short attempt. The monitor, which
looks ten times a second, enforces the longer limits."""

_LONGEST_RETRY_INTERVALS: Final = 100  # as Temporal's server fills it in


class Invoker:
    """Calls the handlers of one worker."""

    def __init__(
        self,
        surroundings: ActivitySurroundings,
        threads: Executor | None,
        queue: str,
        send_heartbeat: Callable[..., None],
        interceptors: Sequence[Interceptor] = (),
        on_client: Callable[[Job], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            surroundings: what all activities of the worker have in common.
            threads: runs plain functions; None: the worker has none.
            queue: the queue served.
            send_heartbeat: takes the job and the details of a heartbeat.
            interceptors: of the user; the first one is the outermost.
            on_client: called with a job that a process waits for inline, when its handler asks for the client. Perhaps
                it is not called in the event loop.
        """
        self._surroundings = surroundings
        self._threads = threads
        self._queue = queue
        self._send_heartbeat = send_heartbeat
        self._interceptors = interceptors
        self._on_client = on_client

    def use_client(self, client: Client) -> None:
        """Give another client to the handlers that are called from here on."""
        self._surroundings = replace(self._surroundings, client=client)

    async def call(self, handler: Handler, args: Sequence[Any], job: Job) -> Any:
        """Call a handler in an activity context, in a thread if it is a plain function.

        Args:
            handler: the handler.
            args: its arguments.
            job: the job.
        """
        surroundings = self._surroundings
        if job.conversion is not None:
            surroundings = replace(surroundings, payload_converter=job.conversion.converter.payload_converter)
        running = job.activity = RunningActivity(
            surroundings,
            cache(partial(activity_info, job, self._queue)),
            partial(self._send_heartbeat, job),
            asked_for_client=partial(self._asked_for_client, job) if job.row.has_waiter else None,
            is_async=handler.is_async,
            throws=_throws(handler.function),
        )
        activity._Context.set(running.context)
        if self._interceptors:
            input = ExecuteActivityInput(
                fn=handler.function,
                args=args,
                executor=None if handler.is_async else self._threads,
                headers=headers_of(job.row.header),
            )
            run = partial(self._run_intercepted, job, running)
            return await intercepted(self._interceptors, input, running.context, run)
        if handler.is_async:
            return await handler.function(*args)
        return await self._in_thread(job, running, self._threads, handler.function, args)

    def _asked_for_client(self, job: Job) -> None:
        if not job.asked_for_client:
            job.asked_for_client = True
            if self._on_client is not None:
                self._on_client(job)

    async def _run_intercepted(
        self, job: Job, running: RunningActivity, input: ExecuteActivityInput, function: Callable[..., Any]
    ) -> Any:
        return await self._in_thread(job, running, input.executor, function, input.args)

    @staticmethod
    async def _in_thread(
        job: Job, running: RunningActivity, threads: Executor | None, function: Callable[..., Any], args: Sequence[Any]
    ) -> Any:
        if threads is None:
            raise RuntimeError("this worker has no threads for plain functions")
        call = partial(_run_in_thread, job, running, asyncio.get_running_loop(), function, args)
        job.thread = threads.submit(copy_context().run, call)
        return await asyncio.wrap_future(job.thread)


def start_clock(job: Job) -> None:
    """Begin to measure an attempt, because its handler runs in the event loop from now on."""
    if job.deadline is None and job.options.start_to_close_timeout is None:
        job.taken_at = job.started_at = job.heartbeat_at = time.monotonic()
        return
    job.taken_at = time.monotonic()
    limit = _start_clock(job)
    if limit is not None:
        _set_timer(job, asyncio.get_running_loop(), limit)


def _start_clock(job: Job) -> float | None:
    """Return the seconds until the attempt times out, if they need a timer."""
    job.started_at = job.heartbeat_at = time.monotonic()
    limit, timeout_type = _limit(job)
    if limit is None:
        return None
    job.due_timeout_type = timeout_type
    job.due_at = job.started_at + limit
    return limit if limit < LEAST_WATCHED_SECONDS else None


def _set_timer(job: Job, loop: asyncio.AbstractEventLoop, limit: float) -> None:
    if job.due_at is not None:
        job.timer = loop.call_later(limit, job.time_out, job.due_timeout_type)


def stop_clock(job: Job) -> None:
    """Stop measuring an attempt that has ended, and forget what it used."""
    job.due_at = None
    if job.timer is not None:
        job.timer.cancel()
        job.timer = None  # it holds the job: the cycle would be left to the garbage collector
    if job.thread is None or job.thread.done():  # otherwise the handler runs on, and may ask whether it is shielded
        job.activity = job.thread = None


def wait_for_thread(job: Job) -> None:
    """Let only the job's deadline time an attempt out while it waits for a thread."""
    job.taken_at = time.monotonic()
    if job.deadline is not None:
        job.due_timeout_type = TimeoutType.SCHEDULE_TO_CLOSE
        job.due_at = job.deadline


def activity_info(job: Job, queue: str) -> activity.Info:
    """Return what `activity.info()` says in the handler of a job.

    Args:
        job: the job.
        queue: the queue it came from.
    """
    options = job.options
    facts = row_facts(job.row.options)
    is_task = job.row.task_token is not None
    now, clock = datetime.now(UTC), time.monotonic()
    taken_at = job.taken_at or clock
    enqueued = job.enqueued_time()
    # Of the two clocks, the database's and this machine's, one may be behind.
    published = max(enqueued, now - timedelta(seconds=clock - taken_at + job.row.waited_seconds))
    started = max(published, now - timedelta(seconds=clock - (job.started_at or taken_at)))
    return activity.Info(
        activity_id=activity_id_in(job.job_id) if is_task else options.activity_id or job.job_id,
        activity_type=job.job_type,
        attempt=job.attempt,
        current_attempt_scheduled_time=published,
        heartbeat_details=list(job.last_heartbeat_details),
        heartbeat_timeout=options.heartbeat_timeout,
        is_local=False,
        namespace=job.row.namespace or "",
        schedule_to_close_timeout=options.schedule_to_close_timeout,
        scheduled_time=enqueued,
        start_to_close_timeout=_least(options.start_to_close_timeout, options.schedule_to_close_timeout),
        started_time=started,
        task_queue=facts.task_queue or queue,
        task_token=task_token(job, queue),
        workflow_id=job.row.workflow_id,
        workflow_namespace=job.row.namespace,
        workflow_run_id=job.row.run_id,
        workflow_type=facts.workflow_type,
        priority=options.priority or Priority.default,
        retry_policy=decode_task_retry(job.row.options)
        if is_task
        else _filled_in(options.retry_policy or RetryPolicy()),
        activity_run_id=None,
    )


def task_token(job: Job, queue: str) -> bytes:
    """Return the token by which a client completes the attempt."""
    return job.row.task_token or pack_task_token(TaskToken(queue, *job.held))


def _run_in_thread(
    job: Job,
    running: RunningActivity,
    loop: asyncio.AbstractEventLoop,
    function: Callable[..., Any],
    args: Sequence[Any],
) -> Any:
    limit = _start_clock(job)
    if limit is not None:
        loop.call_soon_threadsafe(_set_timer, job, loop, limit)
    if job.is_over or job.cancel_told:
        raise CancelledError("Cancelled")
    return with_storable_error(partial(running.run_in_thread, function, *args))


def _limit(job: Job) -> tuple[float | None, TimeoutType]:
    timeout = job.options.start_to_close_timeout
    limit = None if timeout is None else timeout.total_seconds()
    if job.deadline is None:
        return limit, TimeoutType.START_TO_CLOSE
    left = max(0.0, job.deadline - time.monotonic())
    if limit is None or left < limit:
        return left, TimeoutType.SCHEDULE_TO_CLOSE
    return limit, TimeoutType.START_TO_CLOSE


def _throws(function: Callable[..., Any]) -> bool:
    """Return whether the thread of a plain function gets an exception when it is to stop."""
    return not getattr(getattr(function, "__temporal_activity_definition", None), "no_thread_cancel_exception", False)


def _least(start_to_close: timedelta | None, schedule_to_close: timedelta | None) -> timedelta | None:
    """Return the start-to-close timeout as Temporal's server fills it in."""
    given = [timeout for timeout in (start_to_close, schedule_to_close) if timeout is not None]
    return min(given, default=None)


def _filled_in(policy: RetryPolicy) -> RetryPolicy:
    """Return a policy with the value that Temporal's server gives to what is not set."""
    if policy.maximum_interval is not None:
        return policy
    return RetryPolicy(
        initial_interval=policy.initial_interval,
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=policy.initial_interval * _LONGEST_RETRY_INTERVALS,
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_error_types,
    )
