"""A lost database, as a local activity reports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from delegator.errors import DatabaseError, first_line

_FIRST_PAUSE = timedelta(seconds=2)  # Longer than what Temporal waits for within the workflow task
_LONGEST_PAUSE = timedelta(seconds=30)


@contextmanager
def reported() -> Iterator[None]:
    """Let a lost database close the workflow task: the next attempt begins with a timer.

    Raises:
        ApplicationError: the database is lost.
    """
    try:
        yield
    except (DatabaseError, psycopg.Error) as error:
        pause = _FIRST_PAUSE * 2 ** min(activity.info().attempt - 1, 10)
        raise ApplicationError(
            first_line(error),
            type="DatabaseUnavailable",
            next_retry_delay=min(pause, _LONGEST_PAUSE),
            category=ApplicationErrorCategory.BENIGN,  # else the SDK logs every attempt of every workflow
        ) from None
