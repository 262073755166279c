"""The handlers that every arm runs: as ordinary activities, as standalone ones, as delegated jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import delegated
from delegator.context import current_job
from loadtest.ledger import record_start
from loadtest.work import Chore, answer, answer_of, place

START_TO_CLOSE: Final = timedelta(seconds=60)
"""The same in every arm."""
RETRY: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100))
"""The same in every arm."""


@delegated(name="loadtest_crunch", start_to_close_timeout=START_TO_CLOSE)
async def crunch(number: int) -> int:
    """Answer for one job."""
    record_start(*place(number))
    return answer(number)


@delegated(name="loadtest_toil", start_to_close_timeout=START_TO_CLOSE, retry_policy=RETRY)
async def toil(chore: Chore) -> int:
    """Answer for one job that has a payload, takes its time or fails.

    Raises:
        ApplicationError: it was to fail.
    """
    record_start(chore.workflow, chore.job)
    if chore.failures and _attempt() <= chore.failures:
        raise ApplicationError("this attempt was to fail", type="Planned")
    if chore.sleep_ms:
        await asyncio.sleep(chore.sleep_ms / 1000)
    return answer_of(chore)


@activity.defn(name="loadtest_nothing")
async def nothing() -> None:
    """Do nothing: no job, but what a delegated workflow needs before it has one."""


def _attempt() -> int:
    return activity.info().attempt if activity.in_activity() else current_job().attempt
