"""Watches whether a process makes progress, from outside its event loop.

The loops only write a time. The health server's thread reads it, so it also notices a blocked event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

_MARKS_PER_LIMIT: Final = 10
_LONGEST_INTERVAL: Final = timedelta(seconds=1)


class Progress:
    """The time of the last turn of one loop."""

    __slots__ = ("_clock", "_limit", "_marked")

    def __init__(self, limit: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with the current time.

        Args:
            limit: longest time without a mark.
            clock: monotonic, in seconds.
        """
        self._limit = limit.total_seconds()
        self._clock = clock
        self._marked: float | None = clock()

    def mark(self) -> None:
        """Note that the loop has made a turn."""
        self._marked = self._clock()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the watch while the loop waits for something that may take long, such as a free slot."""
        self._marked = None
        try:
            yield
        finally:
            self.mark()

    def stalled(self) -> float | None:
        """Return the seconds since the last mark, if they exceed the limit; else None. Any thread may call it."""
        marked = self._marked
        if marked is None:
            return None
        age = self._clock() - marked
        return age if age > self._limit else None


class Liveness:
    """The loops of a process that must make progress."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing to watch.

        Args:
            clock: monotonic, in seconds.
        """
        self._clock = clock
        self._watched: dict[str, Progress] = {}
        self._lock = threading.Lock()

    @contextmanager
    def watch(self, name: str, limit: timedelta) -> Iterator[Progress]:
        """Watch a loop while the context is open.

        Args:
            name: the loop's name in `/livez`.
            limit: longest time without a mark. It must be above the longest normal wait of the loop.
        """
        progress = Progress(limit, self._clock)
        with self._lock:
            self._watched[name] = progress
        try:
            yield progress
        finally:
            with self._lock:
                self._watched.pop(name, None)

    @asynccontextmanager
    async def watch_event_loop(self, limit: timedelta) -> AsyncIterator[None]:
        """Watch the running event loop itself. It stalls when a callback or a handler does not yield.

        Args:
            limit: longest time the loop may be blocked.
        """
        interval = min(limit / _MARKS_PER_LIMIT, _LONGEST_INTERVAL).total_seconds()
        with self.watch("event_loop", limit) as progress:
            marking = asyncio.create_task(_mark_repeatedly(progress, interval), name="liveness")
            try:
                yield
            finally:
                marking.cancel()
                await asyncio.gather(marking, return_exceptions=True)

    def stalled(self) -> dict[str, str]:
        """Return the loops that made no progress, each with a message. Empty: all make progress."""
        with self._lock:
            watched = list(self._watched.items())
        return {
            name: f"no progress for {age:.0f} s"
            for name, progress in watched
            if (age := progress.stalled()) is not None
        }


async def _mark_repeatedly(progress: Progress, interval_seconds: float) -> None:
    while True:
        progress.mark()
        await asyncio.sleep(interval_seconds)
