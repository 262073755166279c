"""The end of a worker process: running jobs may end, the others are given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import suppress
from datetime import timedelta
from typing import Final

from http_workers.job import Job

_CANCEL_GRACE_SECONDS: Final = 5.0
_FINISH_LIMIT_SECONDS: Final = 10.0
LONGEST_STOP: Final = timedelta(seconds=_CANCEL_GRACE_SECONDS + _FINISH_LIMIT_SECONDS + 5)
"""How long a stop takes at most, the grace period aside."""


async def wind_down(
    running_jobs: Set[Job], grace: timedelta, finish: Callable[[Sequence[Job]], Awaitable[None]]
) -> None:
    """Let running jobs end within the grace period. Then give the other jobs back.

    Args:
        running_jobs: the jobs that run. Those that end leave the set.
        grace: the grace period.
        finish: gives these jobs back, and brings all ended attempts to their end.
    """
    running = [job.task for job in running_jobs if job.task is not None]
    if running and grace:
        await asyncio.wait(running, timeout=grace.total_seconds())
    rest = list(running_jobs)
    for job in rest:
        job.give_back()
    tasks = [job.task for job in rest if job.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS)
    for job in rest:
        job.abandon()
    with suppress(TimeoutError):
        async with asyncio.timeout(_FINISH_LIMIT_SECONDS):
            await finish(rest)
