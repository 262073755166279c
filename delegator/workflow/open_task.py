"""The open workflow task: what the requests made within it share."""

from __future__ import annotations

import time
from typing import Final

from temporalio import workflow

REPLY_BYTES_PER_TASK: Final = 1024 * 1024
"""Bytes of replies in one workflow task. Together with the task's other commands they are well under gRPC's 4 MB."""


class OpenTask:
    """What the requests of the open workflow task share: the time since the task's first one, and room for replies.

    The local activities run in the process that has the workflow task. So they can compare `began_at` with their own
    monotonic clock. The clock does not make the workflow non-deterministic: `began_at` goes into requests only. What
    the enqueuer decides with it is in the replies, which history records.
    """

    __slots__ = ("_history_length", "began_at", "reply_bytes_left")

    def __init__(self) -> None:
        """Start before the first request."""
        self._history_length = -1
        self.began_at = 0.0
        """When the first request was made, in seconds of the monotonic clock."""
        self.reply_bytes_left = REPLY_BYTES_PER_TASK
        """How many bytes the coming replies may have together."""

    def note_request(self) -> None:
        """Begin anew if this is the first request of a workflow task. The history grows from one task to the next."""
        history_length = workflow.info().get_current_history_length()
        if history_length != self._history_length:
            self._history_length = history_length
            self.began_at = time.monotonic()
            self.reply_bytes_left = REPLY_BYTES_PER_TASK

    def note_reply(self, size_bytes: int) -> None:
        """Note the size of a reply."""
        self.reply_bytes_left = max(0, self.reply_bytes_left - size_bytes)
