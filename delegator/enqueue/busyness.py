"""Measures how busy this process and the Temporal server are. A busy process gathers more jobs before it writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

_WINDOW_SECONDS: Final = 0.25  # between two readings of the processor time
_IDLE: Final = 0.5  # share of a core up to which nothing gathers
_BUSY: Final = 0.9  # share of a core from which work gathers as long as allowed
_NORMAL_WAIT_SECONDS: Final = 0.1  # for a workflow's first task when no process is overloaded
_SHARE: Final = 0.1  # of the wait beyond that for which work gathers
_MEMORY: Final = 0.2  # weight of the newest workflow in the moving average
_STALE_SECONDS: Final = 2.0  # after that a measured wait is ignored


class Busyness:
    """Says how long work may gather. An idle process gathers nothing; the busier it is, the longer it gathers.

    There are two measures. A Python process is near its limit when it uses one core, however many the machine has.
    Workflows that wait for their first task show that Temporal, or the machine that it shares, is overloaded. Larger
    batches then save processor time, and the added delay is small beside the time that work waits anyway.
    """

    def __init__(
        self,
        longest: timedelta,
        *,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        """Begin to measure.

        Args:
            longest: longest time that work may gather; zero: never.
            clock: returns the monotonic time, in seconds.
            used: returns the processor time of this process, in seconds.
        """
        self._longest = longest.total_seconds()
        self._clock = clock
        self._used = used
        self._measured_at = clock()
        self._used_then = used()
        self._by_process = 0.0
        self._wait = 0.0
        self._waited_at = self._measured_at

    def workflow_waited(self, seconds: float) -> None:
        """Note how long a workflow waited for its first task. Any thread may call it; a lost note does no harm.

        Args:
            seconds: the wait. Its effect has an upper limit.
        """
        wait = min(seconds, _NORMAL_WAIT_SECONDS + self._longest / _SHARE)
        self._wait += _MEMORY * (wait - self._wait)
        self._waited_at = self._clock()

    def pause(self) -> float:
        """Return how many seconds work may gather now."""
        if not self._longest:
            return 0.0
        now = self._clock()
        passed = now - self._measured_at
        if passed >= _WINDOW_SECONDS:
            used = self._used()
            share = (used - self._used_then) / passed
            self._by_process = self._longest * min(1.0, max(0.0, (share - _IDLE) / (_BUSY - _IDLE)))
            self._measured_at, self._used_then = now, used
        if now - self._waited_at > _STALE_SECONDS:
            self._wait = 0.0
        return max(self._by_process, (self._wait - _NORMAL_WAIT_SECONDS) * _SHARE)
