"""How a queue's name maps to its table, its stream, its publication and its replication slot."""

from __future__ import annotations

import re

DEFAULT_QUEUE = "default"
BASE_TABLE = "custom_task_queue"
LONGEST_IDENTIFIER = 63
"""Bytes of a name that PostgreSQL keeps; it cuts off the rest of a longer one."""
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
    return _of_queue(BASE_TABLE, queue)


def queue_publication(queue: str, base: str) -> str:
    """Return the publication of `queue`.

    Args:
        queue: a queue's name.
        base: the configured name (`DELEGATOR_PUBLICATION`), which is that of the default queue's publication.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    return _of_queue(base, queue)


def queue_slot(queue: str, base: str) -> str:
    """Return the replication slot of `queue`.

    A consumer that can't take more stops reading its slot, and with it everything that the slot streams: with a slot
    for each queue, that is one queue.

    Args:
        queue: a queue's name.
        base: the configured name (`DELEGATOR_SLOT`), which is that of the default queue's slot.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    return _of_queue(base, queue)


def _of_queue(base: str, queue: str) -> str:
    if not is_queue_name(queue):
        raise ValueError(f"{queue!r} is not a queue name: use a-z, 0-9 and _, at most 40 characters, a letter first")
    return base if queue == DEFAULT_QUEUE else f"{base}_{queue}"
