"""The free slots of a worker. It never takes more jobs than it can run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

_GATHER_SECONDS = 0.002


class Slots:
    """Counts free slots. A poller reserves slots before it asks the stream for as many messages."""

    def __init__(self, total: int) -> None:
        """Start with all slots free.

        Args:
            total: jobs that may run at once.
        """
        self._total = total
        self._free = total
        self._is_open = True
        self._claims = 0
        self._freed = asyncio.Event()
        self._freed.set()

    @property
    def total(self) -> int:
        """How many slots there are."""
        return self._total

    async def free(self) -> None:
        """Wait until a slot is free. It may be taken before the caller gets it."""
        await self._freed.wait()

    async def reserve(self, most: int) -> int:
        """Wait for at least one free slot, then reserve up to `most`.

        Slots that become free one by one gather for a moment, so that a busy worker asks for batches.
        """
        while True:
            await self._freed.wait()
            if self._free * 8 < self._total:
                await asyncio.sleep(_GATHER_SECONDS)
            if self._free > 0 and self._is_open:  # another poller may have taken it
                break
        taken = min(most, self._free)
        self._free -= taken
        if not self._free:
            self._freed.clear()
        return taken

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        self._free += count
        if 0 < self._free <= count and self._is_open:
            self._freed.set()

    @property
    def is_open(self) -> bool:
        """Whether free slots may be reserved."""
        return self._is_open

    @property
    def is_claiming(self) -> bool:
        """Whether a claim of jobs for reserved slots is on its way."""
        return self._claims > 0

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Say that the block claims jobs for reserved slots."""
        self._claims += 1
        try:
            yield
        finally:
            self._claims -= 1

    def close(self) -> None:
        """Let nobody reserve slots until `open` is called. What is reserved stays reserved."""
        self._is_open = False
        self._freed.clear()

    def open(self) -> None:
        """Let slots be reserved again."""
        self._is_open = True
        if self._free > 0:
            self._freed.set()
