"""The context of the job that a handler runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, NamedTuple

from temporalio import activity

from delegator.errors import ConfigurationError

JOB_LOGGER: Final = "delegator.job"
"""Name of the logger that handlers get: its lines are the user's."""


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs for a handler; each line has the job's fields beside those of the call."""

    def __init__(self, **job: object) -> None:
        """Prepare the logger.

        Args:
            job: fields of each line.
        """
        super().__init__(logging.getLogger(JOB_LOGGER), job)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the job's fields."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class JobContext(NamedTuple):
    """What a handler can know about the attempt that it runs."""

    job_id: str
    """Unique and stable over attempts: use it as the idempotency key of side effects."""
    job_type: str
    """The delegated activity type."""
    queue: str
    """The queue it came from."""
    attempt: int
    """1 for the first attempt."""
    workflow_id: str | None
    """The workflow that waits for the outcome; None: no workflow waits."""
    run_id: str | None
    """The run of that workflow."""
    enqueued_at: datetime | None
    """When the job was first enqueued."""
    deadline: datetime | None
    """When this attempt or the job times out, by this machine's clock; None: never."""
    heartbeat_details: Sequence[Any]
    """The details of the previous attempt's last heartbeat; empty: there were none."""
    logger: logging.LoggerAdapter[logging.Logger]
    """Logs with the job's id, type and attempt."""
    send_heartbeat: Callable[..., None]
    """See `heartbeat`."""
    is_cancel_requested: Callable[[], bool]
    """Returns whether the workflow asked the job to stop, or the attempt is over."""
    task_token: bytes
    """Names the attempt for `client.get_async_activity_handle(task_token=...)`, if the handler leaves it to a client by
    `activity.raise_complete_async()`."""


class CurrentJob:
    """The job of the running task. Its context is made at the first use, because most handlers do not use it."""

    __slots__ = ("_context", "_make")

    def __init__(self, make: Callable[[], JobContext]) -> None:
        """Describe the job.

        Args:
            make: returns its context. It is called at most once.
        """
        self._make = make
        self._context: JobContext | None = None

    @property
    def context(self) -> JobContext:
        """The job's context."""
        if self._context is None:
            self._context = self._make()
        return self._context


_current: ContextVar[CurrentJob] = ContextVar("delegator_job")


def current_job() -> JobContext:
    """Return the context of the job that this handler runs.

    In a function that an ordinary Temporal worker or Temporal's `ActivityEnvironment` runs as an activity, the context
    holds what `activity.info()` says.

    Raises:
        ConfigurationError: neither a delegated job nor an activity runs here.
    """
    current = _current.get(None)
    if current is not None:
        return current.context
    if activity.in_activity():
        return _activity_context(activity.info())
    raise ConfigurationError(
        "current_job() works only within the handler of a delegated job, or within an activity "
        "(in a test: await delegator.testing.run_handler(function, ...))"
    )


def heartbeat(*details: Any) -> None:
    """Say that the handler is alive. The next attempt finds the details in its context.

    A call is cheap: details are stored in batches, and the last ones when the attempt fails.

    Args:
        details: anything that the data converter can encode.

    Raises:
        ConfigurationError: neither a delegated job nor an activity runs here.
    """
    current_job().send_heartbeat(*details)


def _activity_context(info: activity.Info) -> JobContext:
    run = info.workflow_run_id or info.activity_run_id
    job_id = f"activity:{run}:{info.activity_id}"
    ends = [
        begin + timeout
        for begin, timeout in (
            (info.started_time, info.start_to_close_timeout),
            (info.scheduled_time, info.schedule_to_close_timeout),
        )
        if timeout
    ]
    return JobContext(
        job_id=job_id,
        job_type=info.activity_type,
        queue=info.task_queue,
        attempt=info.attempt,
        workflow_id=info.workflow_id,
        run_id=info.workflow_run_id,
        enqueued_at=info.scheduled_time,
        deadline=min(ends, default=None),
        heartbeat_details=info.heartbeat_details,
        logger=JobLogger(job_id=job_id, job_type=info.activity_type, attempt=info.attempt),
        send_heartbeat=activity.heartbeat,
        is_cancel_requested=activity.is_cancelled,
        task_token=info.task_token,
    )


def set_current_job(current: CurrentJob) -> None:
    """Set the job of the running task. For workers."""
    _current.set(current)
