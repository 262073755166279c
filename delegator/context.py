"""What a handler can know and say about the job it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NamedTuple

from delegator.errors import ConfigurationError


class JobContext(NamedTuple):
    """The attempt that a handler runs."""

    job_id: str
    """Unique and stable over attempts: use it as the idempotency key of side effects."""
    job_type: str
    """The delegated activity type."""
    queue: str
    """The queue it came from."""
    attempt: int
    """1 for the first attempt."""
    workflow_id: str | None
    """The workflow that waits; None: none does."""
    run_id: str | None
    """Its run."""
    enqueued_at: datetime | None
    """When the job was first enqueued."""
    deadline: datetime | None
    """When this attempt or the job times out, by this machine's clock; None: never."""
    heartbeat_details: Sequence[Any]
    """What the previous attempt said in its last heartbeat; empty: nothing."""
    logger: logging.LoggerAdapter[logging.Logger]
    """Logs with the job's id, type and attempt."""
    beat: Callable[..., None]
    """See `heartbeat`."""
    is_cancel_requested: Callable[[], bool]
    """Says whether the workflow asked the job to stop."""


class CurrentJob:
    """The job of the running task. Its context is made when it is asked for: most handlers never do."""

    __slots__ = ("_context", "_make")

    def __init__(self, make: Callable[[], JobContext]) -> None:
        """Describe the job.

        Args:
            make: returns its context; called at most once.
        """
        self._make = make
        self._context: JobContext | None = None

    @property
    def context(self) -> JobContext:
        """What the handler can know and say."""
        if self._context is None:
            self._context = self._make()
        return self._context


_current: ContextVar[CurrentJob] = ContextVar("delegator_job")


def current_job() -> JobContext:
    """Return the context of the job that this handler runs.

    Raises:
        ConfigurationError: no delegated job runs here.
    """
    current = _current.get(None)
    if current is None:
        raise ConfigurationError("current_job() works only within the handler of a delegated job")
    return current.context


def heartbeat(*details: Any) -> None:
    """Say that the handler is alive, with details that the next attempt finds in its context.

    Cheap: details are stored in batches, and the last of them when the attempt fails.

    Args:
        details: anything that the data converter can encode.

    Raises:
        ConfigurationError: no delegated job runs here.
    """
    current_job().beat(*details)


def set_current_job(current: CurrentJob) -> None:
    """Make this job the one of the running task. For workers."""
    _current.set(current)
