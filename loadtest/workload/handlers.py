"""The handlers that every arm runs, as activities or as delegated jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import delegated
from delegator.context import current_job
from loadtest.workload.jobs import Chore, answer, answer_of, place
from loadtest.workload.ledger import record_start

START_TO_CLOSE: Final = timedelta(seconds=60)
"""Timeout of an attempt, the same in every arm."""
RETRY: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100))
"""Retry policy of jobs that may fail, the same in every arm."""


@delegated(name="loadtest_crunch", start_to_close_timeout=START_TO_CLOSE)
async def crunch(number: int) -> int:
    """Answer for one job."""
    record_start(*place(number))
    return answer(number)


@delegated(name="loadtest_toil", start_to_close_timeout=START_TO_CLOSE, retry_policy=RETRY)
async def toil(chore: Chore) -> int:
    """Answer for one job that has a payload, takes its time or fails.

    Raises:
        ApplicationError: this attempt is one that should fail.
    """
    record_start(chore.workflow, chore.job)
    if chore.failures and _attempt() <= chore.failures:
        raise ApplicationError("this attempt should fail", type="Planned")
    if chore.sleep_ms:
        await asyncio.sleep(chore.sleep_ms / 1000)
    return answer_of(chore)


@activity.defn(name="loadtest_nothing")
async def nothing() -> None:
    """Do nothing. As a local activity it costs what the enqueueing of a delegated job costs Temporal."""


def _attempt() -> int:
    return activity.info().attempt if activity.in_activity() else current_job().attempt
