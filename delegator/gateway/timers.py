"""Ends attempts that have taken too long, whatever their heartbeats say."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from delegator.gateway.job_tokens import JobToken

_LOOK_SECONDS: Final = 0.1


class Timers:
    """Remembers when attempts time out that began at this gateway.

    If it dies, the gateway that gets an attempt's next heartbeat notices the end. If none comes, its lease ends.
    """

    def __init__(self, time_out: Callable[[Sequence[JobToken]], Awaitable[None]]) -> None:
        """Prepare.

        Args:
            time_out: ends attempts that still run.
        """
        self._time_out = time_out
        self._due: list[tuple[int, JobToken]] = []

    def set(self, token: JobToken) -> None:
        """Time an attempt out at its end."""
        if token.until_ms is not None:
            heapq.heappush(self._due, (token.until_ms, token))

    async def run(self) -> None:
        """Time attempts out until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = int(time.time() * 1000)
            due: list[JobToken] = []
            while self._due and self._due[0][0] <= now:
                due.append(heapq.heappop(self._due)[1])
            if due:
                await self._time_out(due)
