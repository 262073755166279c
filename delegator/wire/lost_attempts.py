"""Reads from a row's options how often in a row the worker of its job died."""

from __future__ import annotations

from typing import Final

import orjson
from delegator_schema.options import ATTEMPTS, ERROR, WORKER_LOST

_MARK: Final = f'"{WORKER_LOST}"'


def lost_in_a_row(options: str | None) -> int:
    """Return how many of a job's last attempts ended with the death of their worker, one after another.

    Args:
        options: the row's options, JSON. Those that can't be read say nothing.
    """
    if options is None or _MARK not in options:
        return 0
    try:
        attempts = orjson.loads(options)[ATTEMPTS]
        errors = [attempt[ERROR] for attempt in attempts]
    except (ValueError, KeyError, TypeError):
        return 0
    count = 0
    for error in reversed(errors):
        if error != WORKER_LOST:
            break
        count += 1
    return count
