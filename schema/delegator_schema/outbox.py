"""The outbox's words that several processes use: operations, the channel that wakes the dispatcher, request ids."""

import hashlib
import uuid
from typing import Final

START: Final = "start"
SIGNAL: Final = "signal"
SIGNAL_WITH_START: Final = "signal_with_start"
CANCEL: Final = "cancel"

OUTBOX_CHANNEL: Final = "delegator_outbox"
"""The channel that wakes the dispatcher."""
OUTBOX_QUEUE: Final = "(outbox)"
"""What the `queue` of a dead letter says that was an operation. It can't name a queue."""
MAX_INPUT_BYTES: Final = 2 * 1024 * 1024
"""The most that an operation's or a job's payloads may have together. Temporal allows 2 MB for a payload."""
NO_WAITER: Final = 0
"""The `waiter_id` of a plain job whose outcome is kept. No lease has this id, so any client may read the outcome."""
_SEPARATOR: Final = "\x1f"


def request_id(operation: str, namespace: str | None, workflow_id: str, key: str) -> str:
    """Return the request id of an operation with an idempotency key.

    It depends on the key, so Temporal recognises a repetition that was written after the first operation was sent. The
    SQL functions make the same id.

    Args:
        operation: what is to be done.
        namespace: Temporal's namespace, if the row names it.
        workflow_id: the workflow.
        key: the caller's key.
    """
    text = _SEPARATOR.join((operation, namespace or "", workflow_id, key))
    return str(uuid.UUID(hashlib.sha256(text.encode()).hexdigest()[:32]))
