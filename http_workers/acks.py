"""Acknowledging messages: at once while they are rare, together while they pour in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from delegator.errors import StreamError, WireError
from delegator.runtime.connection_state import ConnectionState
from http_workers.source import StreamSource

_INTERVAL: Final = 0.05
_MOST: Final = 2_000


class Acknowledger:
    """Tells the stream what it may forget.

    A message is acknowledged when its row is claimed. From then on the lease is the truth, so that a delay, far below
    the stream's visibility timeout of 30 s, and even a loss cost nothing but a message that the claim drops.
    """

    def __init__(self, source: StreamSource, state: ConnectionState) -> None:
        """Prepare.

        Args:
            source: the stream.
            state: told about the stream's health.
        """
        self._source = source
        self._state = state
        self._waiting: list[str] = []
        self._arrived = asyncio.Event()
        self._sent_at = 0.0

    def add(self, ack_ids: Sequence[str]) -> None:
        """Have messages acknowledged soon."""
        self._waiting += ack_ids
        self._arrived.set()

    async def run(self) -> None:
        """Acknowledge what is added, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(max(0.0, self._sent_at + _INTERVAL - loop.time()))
            self._sent_at = loop.time()
            await self.flush()

    async def flush(self) -> None:
        """Acknowledge what was added so far."""
        self._arrived.clear()
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _MOST):
            try:
                await self._source.ack(waiting[start : start + _MOST])
            except (StreamError, WireError) as error:
                self._state.lost(str(error))  # they come again, and the claim drops them
