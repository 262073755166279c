"""Pauses between attempts to reach a server that does not answer."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta


class Backoff:
    """Capped exponential back-off with full jitter.

    Each pause is random, between zero and a ceiling. The ceiling doubles up to a cap. So the clients of a server that
    comes back do not all connect at the same moment.
    """

    def __init__(
        self,
        first: timedelta = timedelta(milliseconds=100),
        longest: timedelta = timedelta(seconds=5),
        *,
        rng: random.Random | None = None,
    ) -> None:
        """Start at the first ceiling.

        Args:
            first: ceiling of the first pause; above zero.
            longest: cap of the ceiling.
            rng: source of random numbers; None: that of the process.

        Raises:
            ValueError: `first` is not above zero or exceeds `longest`.
        """
        if not timedelta(0) < first <= longest:
            raise ValueError("a back-off needs 0 < first <= longest")
        self._first = first.total_seconds()
        self._longest = longest.total_seconds()
        self._ceiling = self._first
        self._draw = rng.uniform if rng else random.uniform

    def next(self) -> float:
        """Return the next pause, in seconds, and raise the ceiling for the one after it."""
        ceiling = self._ceiling
        self._ceiling = min(self._longest, ceiling * 2)
        return self._draw(0.0, ceiling)

    def reset(self) -> None:
        """Start again at the first ceiling, because an attempt succeeded."""
        self._ceiling = self._first

    async def sleep(self, stop: asyncio.Event | None = None) -> None:
        """Pause before the next attempt.

        Args:
            stop: ends the pause when it is set.
        """
        pause = self.next()
        if stop is None:
            await asyncio.sleep(pause)
            return
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
        except TimeoutError:
            pass
