"""Ends attempts for requests: a request gets its reply when the finisher has written what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from http_workers.attempt import Ended


@dataclass(slots=True)
class _Batch:
    """The attempts of one request."""

    left: int
    """How many are not finished yet."""
    done: asyncio.Event


class Finishing:
    """Knows which attempts are being finished, and who waits for them."""

    def __init__(self, add: Callable[[Ended], None]) -> None:
        """Prepare.

        Args:
            add: gives an attempt to the finisher.
        """
        self._add = add
        self._batches: dict[int, _Batch] = {}
        self._since: dict[int, tuple[float, Ended]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, ended: Ended) -> None:
        """Finish an attempt that nobody waits for."""
        self._idle.clear()
        self._since[id(ended)] = (time.monotonic(), ended)
        self._add(ended)

    async def finish(self, attempts: Sequence[Ended]) -> None:
        """Finish attempts, and wait until that is written. A caller that goes away does not stop it."""
        if not attempts:
            return
        batch = _Batch(len(attempts), asyncio.Event())
        for ended in attempts:
            self._batches[id(ended)] = batch
            self.start(ended)
        await batch.done.wait()

    def written(self, attempts: Sequence[Ended]) -> None:
        """Note that attempts are finished; called by the finisher."""
        for ended in attempts:
            self._since.pop(id(ended), None)
            batch = self._batches.pop(id(ended), None)
            if batch is not None:
                batch.left -= 1
                if not batch.left:
                    batch.done.set()
        if not self._since:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is being finished."""
        await self._idle.wait()

    def slow(self, seconds: float) -> list[Ended]:
        """Return attempts that have been finished for longer than this, because a server is away or busy."""
        before = time.monotonic() - seconds
        return [ended for since, ended in self._since.values() if since < before]
