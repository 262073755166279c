"""The job, ten steps long, as a coroutine and as a plain function. Its first attempt freezes at the fourth step."""

from __future__ import annotations

import asyncio
import time

import psycopg
from temporalio.exceptions import CancelledError

from delegator import current_job, delegated, heartbeat
from examples.database import database, database_url

STEPS = 10
FROZEN_STEP = 4
_RECORD = "INSERT INTO heartbeat.effects (job, step, attempt) VALUES (%s, %s, %s)"


def first_step() -> int:
    """Return the step to begin with: the one after the last that an earlier attempt has reported."""
    job = current_job()
    match list(job.heartbeat_details):
        case [int(reported)]:
            return reported + 1
        case [unknown, *_]:
            # Another version of this function reported it. Beginning again is slow, and never wrong.
            job.logger.warning("heartbeat_details_unknown", extra={"details_type": type(unknown).__name__})
    return 1


@delegated
async def work(job: str, frozen_seconds: float) -> int:
    """Do the steps, and return with which one this attempt began."""
    first, attempt = first_step(), current_job().attempt
    for step in range(first, STEPS + 1):
        if step == FROZEN_STEP and attempt == 1:
            await asyncio.sleep(frozen_seconds)
        async with database.get().connection() as connection:
            await connection.execute(_RECORD, (job, step, attempt))
        heartbeat(step)
    return first


@delegated
def work_in_thread(job: str, frozen_seconds: float) -> int:
    """Do the same in a thread. No one can end a thread that is frozen; it is told when it wakes."""
    first, attempt = first_step(), current_job().attempt
    with psycopg.connect(database_url(), autocommit=True) as connection:
        try:
            for step in range(first, STEPS + 1):
                if step == FROZEN_STEP and attempt == 1:
                    time.sleep(frozen_seconds)
                connection.execute(_RECORD, (job, step, attempt))
                heartbeat(step)
        except CancelledError:
            connection.execute(_RECORD, (job, 0, 0))
            raise
    return first
