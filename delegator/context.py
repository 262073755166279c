"""What a handler can know and say about the job it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from delegator.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class JobContext:
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


_current: ContextVar[JobContext] = ContextVar("delegator_job")


def current_job() -> JobContext:
    """Return the context of the job that this handler runs.

    Raises:
        ConfigurationError: no delegated job runs here.
    """
    context = _current.get(None)
    if context is None:
        raise ConfigurationError("current_job() works only within the handler of a delegated job")
    return context


def heartbeat(*details: Any) -> None:
    """Say that the handler is alive, with details that the next attempt finds in its context.

    Cheap: details are stored in batches, and the last of them when the attempt fails.

    Args:
        details: anything that the data converter can encode.

    Raises:
        ConfigurationError: no delegated job runs here.
    """
    current_job().beat(*details)


def set_current_job(context: JobContext) -> None:
    """Make `context` the one of the running task. For workers."""
    _current.set(context)
