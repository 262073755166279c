"""How busy this process and the Temporal server are, as a reason to gather more before it writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

_WINDOW: Final = 0.25  # seconds between looks at the processor time
_IDLE: Final = 0.5  # of a core: nothing gathers yet
_BUSY: Final = 0.9  # of a core: as long as allowed
_PROMPT: Final = 0.1  # seconds that a workflow may wait for its first task where nothing is behind
_SHARE: Final = 0.1  # of what it waits beyond that
_MEMORY: Final = 0.2  # weight of the last workflow in their average
_STALE: Final = 2.0  # seconds after which a wait says nothing of the present


class Busyness:
    """Tells how long work may gather: not at all while there is time to spare, longer the less there is.

    Two things say so. A Python process is near its limit when it uses one core, whatever the machine has. And workflows
    that wait for their first task show that Temporal, or the machine it shares, is behind. Then each hop that takes
    several jobs instead of one leaves processor time for what really waits for it, and a moment's delay is lost in the
    queues.
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
            longest: how long work may gather at most; zero: never.
            clock: monotonic, in seconds.
            used: processor time of this process, in seconds.
        """
        self._longest = longest.total_seconds()
        self._clock = clock
        self._used = used
        self._looked_at = clock()
        self._used_then = used()
        self._by_process = 0.0
        self._wait = 0.0
        self._waited_at = self._looked_at

    def workflow_waited(self, seconds: float) -> None:
        """Take note of how long a workflow waited for its first task; from any thread: a lost one does not matter.

        Args:
            seconds: beyond the wait for which work gathers as long as allowed, more weighs no more.
        """
        wait = min(seconds, _PROMPT + self._longest / _SHARE)
        self._wait += _MEMORY * (wait - self._wait)
        self._waited_at = self._clock()

    def pause(self) -> float:
        """Return how many seconds work may gather now."""
        if not self._longest:
            return 0.0
        now = self._clock()
        passed = now - self._looked_at
        if passed >= _WINDOW:
            used = self._used()
            share = (used - self._used_then) / passed
            self._by_process = self._longest * min(1.0, max(0.0, (share - _IDLE) / (_BUSY - _IDLE)))
            self._looked_at, self._used_then = now, used
        if now - self._waited_at > _STALE:
            self._wait = 0.0
        return max(self._by_process, (self._wait - _PROMPT) * _SHARE)
