"""Runs suspects alone: jobs whose worker has died at least twice, one time after another, while it ran them.

A handler that kills its process takes all other jobs of the process with it. Each of them loses an attempt. So nothing
else runs beside a job that has done this twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from http_workers.job import Job
from http_workers.slots import Slots

SUSPECT: Final = 2
"""A job is a suspect from so many lost attempts in a row on. One is not enough: most of them come from a machine that
failed, and a hundred innocent jobs must not queue up to run one by one."""

_FIRST_PATIENCE: Final = timedelta(seconds=10)
_PATIENCE_GROWTH: Final = 4.0
_LONGEST_PATIENCE: Final = timedelta(minutes=10)
_LOOK_SECONDS: Final = 0.02
_SUSPECT_SNOOZE: Final = timedelta(seconds=1)

_log = logging.getLogger(__name__)


def patience_with(lost: int) -> timedelta:
    """Return how long a suspect waits for the others to end, and how long no other job begins beside it.

    Args:
        lost: its lost attempts in a row. The more, the surer it is that the job itself kills its workers.
    """
    return min(_FIRST_PATIENCE * _PATIENCE_GROWTH ** min(lost - SUSPECT, 10), _LONGEST_PATIENCE)


class Alone:
    """Lets one suspect at a time run, with no other job beside it. While there is none, nothing is done for a job."""

    def __init__(self, slots: Slots, held: Mapping[str, Job]) -> None:
        """Prepare.

        Args:
            slots: the worker's slots. They are closed while a suspect waits or runs.
            held: the jobs that the worker holds.
        """
        self._slots = slots
        self._held = held
        self._job: Job | None = None

    @property
    def is_taken(self) -> bool:
        """Whether a suspect waits or runs alone."""
        return self._job is not None

    def admit(self, job: Job) -> timedelta | None:
        """Take a suspect, or refuse a job that would run beside one.

        Returns:
            None if the job may run; else how long to snooze it.
        """
        if self._job is not None:
            return _SUSPECT_SNOOZE if job.lost_in_a_row >= SUSPECT else timedelta(0)
        if job.lost_in_a_row >= SUSPECT:
            self._job = job
            self._slots.close()
        return None

    @asynccontextmanager
    async def place(self, job: Job, is_idle: Callable[[], bool]) -> AsyncIterator[None]:
        """Wait until the worker holds no other job, and keep it so for a while. The wait is bounded.

        Args:
            job: the suspect that `admit` has taken.
            is_idle: whether everything about ended attempts is written.
        """
        patience = patience_with(job.lost_in_a_row).total_seconds()
        timer = None
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    # No event, because nearly always nobody waits for one.
                    while self._slots.is_claiming or len(self._held) > 1 or not is_idle():  # noqa: ASYNC110
                        await asyncio.sleep(_LOOK_SECONDS)
            _log.warning(
                "suspect_begins",
                extra={"job_id": job.job_id, "lost_attempts": job.lost_in_a_row, "others": len(self._held) - 1},
            )
            timer = asyncio.get_running_loop().call_later(patience, self.leave, job)
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self.leave(job)

    def leave(self, job: Job) -> None:
        """Let other jobs in again, if this job keeps them out."""
        if self._job is job:
            self._job = None
            self._slots.open()
