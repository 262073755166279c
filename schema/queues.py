"""How a queue's name maps to its table and to its stream."""

from __future__ import annotations

import re

DEFAULT_QUEUE = "default"
BASE_TABLE = "custom_task_queue"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


def is_queue_name(name: str) -> bool:
    """Say whether `name` can name a queue: lower-case letters, digits and `_`, at most 40, a letter first."""
    return _NAME.match(name) is not None


def queue_table(queue: str) -> str:
    """Return the table of `queue`, which is also the name of its stream (Sequin sink).

    Each queue has a table of its own, so that a slow queue's backlog never stands in the way of another's.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    if not is_queue_name(queue):
        raise ValueError(f"{queue!r} is not a queue name: use a-z, 0-9 and _, at most 40 characters, a letter first")
    return BASE_TABLE if queue == DEFAULT_QUEUE else f"{BASE_TABLE}_{queue}"
