"""How a receive loop paces itself when the stream has nothing to give."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_WAITED: Final = 0.9


class EmptyReplyPacer:
    """Says how long to pause after a reply, so that a stream that does not really wait is not hammered.

    Sequin's `wait_for` returns at once, empty, while messages are in flight to others.
    """

    def __init__(
        self,
        first: timedelta = timedelta(milliseconds=5),
        longest: timedelta = timedelta(milliseconds=250),
    ) -> None:
        """Start without a pause pending.

        Args:
            first: pause after the first early empty reply; it doubles with each one that follows.
            longest: where doubling ends.
        """
        self._first = first.total_seconds()
        self._longest = longest.total_seconds()
        self._next = self._first

    def pause(self, received: int, elapsed: timedelta, wait: timedelta) -> float:
        """Take note of a reply and return how long to pause before the next request, in seconds.

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
