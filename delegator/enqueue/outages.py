"""What a local activity does while PostgreSQL can't be reached: it lets Temporal close the workflow task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from delegator.errors import DatabaseError, first_line

_FIRST_PAUSE = timedelta(seconds=2)  # Longer than what Temporal waits for within the workflow task
_PAUSE_GROWTH = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=10)


@contextmanager
def closing_task() -> Iterator[None]:
    """Let a lost database close the workflow task: the next attempt begins with a timer.

    Raises:
        ApplicationError: the database is lost.
    """
    try:
        yield
    except (DatabaseError, psycopg.Error) as error:
        pause = _FIRST_PAUSE + _PAUSE_GROWTH * (activity.info().attempt - 1)
        raise ApplicationError(
            first_line(error),
            type="DatabaseUnavailable",
            next_retry_delay=min(pause, _LONGEST_PAUSE),
            category=ApplicationErrorCategory.BENIGN,  # else the SDK logs every attempt of every workflow
        ) from None
