"""The open workflow task: what the requests made within it share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

REPLY_BYTES_PER_TASK: Final = 1024 * 1024
"""Bytes of replies in one workflow task. Together with the task's other commands they are well under gRPC's 4 MB."""

_AT_ONCE_SECONDS: Final = 0.1


class OpenTask:
    """What the requests of the open workflow task share: the time since the task's first one, and room for replies.

    The local activities run in the process that has the workflow task. So they can compare `began_at` with their own
    monotonic clock. The clock does not make the workflow non-deterministic: `began_at` goes into requests only. What
    the enqueuer decides with it is in the replies, which history records.
    """

    __slots__ = ("_clock", "_history_length", "_opened_at", "_replied_at", "began_at", "reply_bytes_left")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start before the first request.

        Args:
            clock: returns the monotonic time, in seconds.
        """
        self._clock = clock
        self._history_length = -1
        self._opened_at = self._replied_at = float("-inf")
        self.began_at = 0.0
        """From when on the task's age counts, in seconds of the monotonic clock: from its first request. A task that
        follows another one at once counts the age of that one, too. Temporal may hold a query until both have ended."""
        self.reply_bytes_left = REPLY_BYTES_PER_TASK
        """How many bytes the coming replies may have together."""

    def note_request(self, history_length: int) -> None:
        """Begin anew if this is the first request of a workflow task.

        Args:
            history_length: the number of events in the history. It grows from one task to the next.
        """
        if history_length == self._history_length:
            return
        now = self._clock()
        follows = now - self._replied_at < _AT_ONCE_SECONDS
        self.began_at = now - (self._replied_at - self._opened_at if follows else 0.0)
        self._history_length = history_length
        self._opened_at = now
        self.reply_bytes_left = REPLY_BYTES_PER_TASK

    def note_reply(self, size_bytes: int) -> None:
        """Note a reply of this size."""
        self._replied_at = self._clock()
        self.reply_bytes_left = max(0, self.reply_bytes_left - size_bytes)
