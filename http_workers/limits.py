"""Per-type limits of one worker process: concurrency and rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from delegator.contracts import Handler


class _Rate:
    """Spaces starts evenly."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._next = 0.0

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        start = max(now, self._next)
        self._next = start + self._interval
        if start > now:
            await asyncio.sleep(start - now)


class TypeLimits:
    """Holds attempts back as their type's declaration says; types without limits pass at no cost."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Read the limits.

        Args:
            handlers: by delegated activity type.
        """
        self._concurrency = {
            name: asyncio.Semaphore(handler.type.max_concurrent)
            for name, handler in handlers.items()
            if handler.type.max_concurrent is not None
        }
        self._rates = {
            name: _Rate(handler.type.max_per_second)
            for name, handler in handlers.items()
            if handler.type.max_per_second is not None
        }
        self._limited = self._concurrency.keys() | self._rates.keys()

    def limited(self, job_type: str) -> bool:
        """Say whether a type has limits."""
        return job_type in self._limited

    @asynccontextmanager
    async def permit(self, job_type: str) -> AsyncIterator[None]:
        """Wait until a job of a type may start, and count it as running until the context ends."""
        semaphore = self._concurrency.get(job_type)
        rate = self._rates.get(job_type)
        if semaphore is not None:
            await semaphore.acquire()
        try:
            if rate is not None:
                await rate.wait()
            yield
        finally:
            if semaphore is not None:
                semaphore.release()
