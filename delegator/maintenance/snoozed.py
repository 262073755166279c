"""Snoozed jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

_PAUSE = timedelta(seconds=10)


class SnoozedJobs:
    """Remembers jobs that could not be handled, for example because a codec failed, until they are tried again."""

    def __init__(self, pause: timedelta = _PAUSE) -> None:
        """Start empty.

        Args:
            pause: time until a job is tried again.
        """
        self._pause = pause.total_seconds()
        self._until: dict[str, float] = {}

    def add(self, job_ids: Iterable[str]) -> None:
        """Snooze jobs from now on."""
        self._until.update(dict.fromkeys(job_ids, time.monotonic() + self._pause))

    def ids(self) -> list[str]:
        """Return the jobs that are snoozed now."""
        now = time.monotonic()
        self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        return list(self._until)
