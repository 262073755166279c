"""Derives the names of a queue's table, stream, publication and replication slot."""

from __future__ import annotations

import re

DEFAULT_QUEUE = "default"
BASE_TABLE = "custom_task_queue"
LONGEST_IDENTIFIER = 63
"""Bytes of a name that PostgreSQL keeps. It cuts a longer name."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


def is_queue_name(name: str) -> bool:
    """Return whether `name` can name a queue: lower-case letters, digits and `_`, at most 40, a letter first."""
    return _NAME.match(name) is not None


def queue_table(queue: str) -> str:
    """Return the table of `queue`, which is also the name of its stream (Sequin sink).

    Each queue has its own table, so that the backlog of a slow queue does not slow down the others.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    return _of_queue(BASE_TABLE, queue)


def queue_publication(queue: str, base: str) -> str:
    """Return the publication of `queue`.

    Args:
        queue: a queue's name.
        base: the configured name (`DELEGATOR_PUBLICATION`), which is the name of the default queue's publication.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    return _of_queue(base, queue)


def queue_slot(queue: str, base: str) -> str:
    """Return the replication slot of `queue`.

    Each queue has its own slot. A consumer that can't take more stops reading its slot, and that stops one queue only.

    Args:
        queue: a queue's name.
        base: the configured name (`DELEGATOR_SLOT`), which is the name of the default queue's slot.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    return _of_queue(base, queue)


def _of_queue(base: str, queue: str) -> str:
    if not is_queue_name(queue):
        raise ValueError(f"{queue!r} is not a queue name: use a-z, 0-9 and _, at most 40 characters, a letter first")
    return base if queue == DEFAULT_QUEUE else f"{base}_{queue}"
