"""Acknowledges messages: a few at once, many together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from delegator.errors import StreamError, WireError
from delegator.runtime.connection_state import ConnectionState
from http_workers.source import StreamSource

_INTERVAL_SECONDS: Final = 0.05
_MOST: Final = 2_000


class Acknowledger:
    """Acknowledges messages to the stream.

    A message is acknowledged when its row is claimed. From then on the lease counts. So a short delay does no harm. If
    an acknowledgement is lost, the stream delivers the message again and the claim drops it.
    """

    def __init__(self, source: StreamSource, state: ConnectionState) -> None:
        """Prepare.

        Args:
            source: the stream.
            state: gets the stream's health.
        """
        self._source = source
        self._state = state
        self._waiting: list[str] = []
        self._arrived = asyncio.Event()
        self._sent_at = 0.0

    def add(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge messages soon."""
        self._waiting += ack_ids
        self._arrived.set()

    async def run(self) -> None:
        """Acknowledge what is added, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(max(0.0, self._sent_at + _INTERVAL_SECONDS - loop.time()))
            self._sent_at = loop.time()
            await self.flush()

    async def flush(self) -> None:
        """Acknowledge what was added so far."""
        self._arrived.clear()
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _MOST):
            try:
                with self._state.timed("ack"):
                    await self._source.ack(waiting[start : start + _MOST])
            except (StreamError, WireError) as error:
                self._state.lost(str(error))  # the stream delivers them again, and the claim drops them
