"""Whether a process still makes progress, judged from outside its event loop.

The loops only write a time; the health server's thread reads it. So the verdict holds while the event loop
is blocked, which a loop that judged itself could never say.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

_BEATS_PER_LIMIT: Final = 10
_LONGEST_BEAT: Final = timedelta(seconds=1)


class Progress:
    """The mark of one loop: when it last went round."""

    __slots__ = ("_clock", "_limit", "_marked")

    def __init__(self, limit: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a mark made now.

        Args:
            limit: how old the mark may become.
            clock: monotonic, in seconds.
        """
        self._limit = limit.total_seconds()
        self._clock = clock
        self._marked: float | None = clock()

    def mark(self) -> None:
        """Note that the loop has gone round."""
        self._marked = self._clock()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Hold judgement while the loop waits for something that may rightly take long, such as a free slot."""
        self._marked = None
        try:
            yield
        finally:
            self.mark()

    def stalled(self) -> float | None:
        """Return for how long nothing has moved, in seconds, if that is too long. Safe from any thread."""
        marked = self._marked
        if marked is None:
            return None
        age = self._clock() - marked
        return age if age > self._limit else None


class Liveness:
    """Every loop of a process that must keep going."""

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
        """Watch a loop for as long as the context is open.

        Args:
            name: the loop's name in `/livez`.
            limit: longest time without a mark; above the loop's longest rightful wait.
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
        """Watch the running event loop itself: it stalls when a callback or a handler does not yield.

        Args:
            limit: longest time the loop may be blocked.
        """
        interval = min(limit / _BEATS_PER_LIMIT, _LONGEST_BEAT).total_seconds()
        with self.watch("event_loop", limit) as progress:
            beat = asyncio.create_task(_beat(progress, interval), name="liveness")
            try:
                yield
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)

    def stalled(self) -> dict[str, str]:
        """Return the loops that made no progress, with what to tell people; empty: all is well."""
        with self._lock:
            watched = list(self._watched.items())
        return {
            name: f"no progress for {age:.0f} s"
            for name, progress in watched
            if (age := progress.stalled()) is not None
        }


async def _beat(progress: Progress, interval: float) -> None:
    while True:
        progress.mark()
        await asyncio.sleep(interval)
