"""Pauses of a receive loop while the stream has no messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_WAITED: Final = 0.9


class EmptyReplyPacer:
    """Returns how long to pause after a reply.

    Sequin's `wait_for` does not wait while messages are in flight to others: it returns at once, without messages. The
    pauses keep the loop from sending too many requests.
    """

    def __init__(
        self,
        first: timedelta = timedelta(milliseconds=5),
        longest: timedelta = timedelta(milliseconds=250),
    ) -> None:
        """Start without a pause.

        Args:
            first: pause after the first early empty reply. It doubles with each further one.
            longest: longest pause.
        """
        self._first = first.total_seconds()
        self._longest = longest.total_seconds()
        self._next = self._first

    def pause(self, received: int, elapsed: timedelta, wait: timedelta) -> float:
        """Note a reply. Return the pause before the next request, in seconds.

        Args:
            received: messages in the reply.
            elapsed: how long the reply took.
            wait: how long the stream was asked to wait.
        """
        if received or (wait and elapsed >= wait * _WAITED):
            self._next = self._first
            return 0.0
        pause = self._next
        self._next = min(self._longest, pause * 2)
        return pause
