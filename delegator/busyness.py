"""How busy this process is, as a reason to gather more before it writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

_WINDOW: Final = 0.25
_IDLE: Final = 0.4
_BUSY: Final = 0.8


class Busyness:
    """Tells how long work may gather: not at all while the process has time to spare, longer the less it has.

    A Python process is near its limit when it uses one core, whatever the machine has. Then each hop that takes several
    jobs instead of one leaves processor time for what really waits for it, and a moment's delay is lost in the queues.
    """

    def __init__(
        self,
        longest: timedelta,
        *,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        """Begin to look.

        Args:
            longest: how long work may gather in a process that has no time to spare; zero: never.
            clock: monotonic, in seconds.
            used: processor time of this process, in seconds.
        """
        self._longest = longest.total_seconds()
        self._clock = clock
        self._used = used
        self._looked_at = clock()
        self._used_then = used()
        self._pause = 0.0

    def pause(self) -> float:
        """Return how many seconds work may gather now."""
        if not self._longest:
            return 0.0
        now = self._clock()
        passed = now - self._looked_at
        if passed >= _WINDOW:
            used = self._used()
            share = (used - self._used_then) / passed
            self._pause = self._longest * min(1.0, max(0.0, (share - _IDLE) / (_BUSY - _IDLE)))
            self._looked_at, self._used_then = now, used
        return self._pause
