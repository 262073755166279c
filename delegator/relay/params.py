"""Reads the parameters of a request as Sequin does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MAX_BATCH: Final = 1000
MIN_WAIT_MS: Final = 500
MAX_WAIT_MS: Final = 300_000
_DURATION = re.compile(r"(\d{1,12})(ms|s|m)?\Z", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,12}\Z", re.ASCII)
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, None: 1}
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z", re.ASCII)


class BadRequestError(Exception):
    """A parameter is not valid; the message becomes the answer's summary."""


def parse_batch_size(params: Mapping[str, object]) -> int:
    """Return how many messages to deliver at most; `batch_size`, the older name, wins.

    Raises:
        BadRequestError: it is not an integer between 1 and 1000.
    """
    key = "batch_size" if "batch_size" in params else "max_batch_size"
    value = params.get(key, 1)
    if isinstance(value, str) and _INTEGER.match(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_BATCH:
        return value
    raise BadRequestError("Invalid `max_batch_size`. `max_batch_size` must be an integer between 1 and 1000.")


def parse_wait_for(params: Mapping[str, object]) -> float:
    """Return how many seconds to wait for a message; 0: don't wait.

    Raises:
        BadRequestError: it is not a duration, or not between 500 and 300,000 ms.
    """
    value = params.get("wait_for")
    if value is None:
        return 0.0
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise BadRequestError(
                "Invalid `wait_for`. When using duration strings, format must be like '60s', '5m', or '1000ms'."
            )
        value = int(match[1]) * _UNIT_MS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and MIN_WAIT_MS <= value <= MAX_WAIT_MS:
        return value / 1000
    raise BadRequestError(
        f"Invalid `wait_for`. Must be between {MIN_WAIT_MS} and {MAX_WAIT_MS:,} milliseconds, or use duration format "
        "like '60s', '5m', '1000ms'."
    )


def parse_ack_ids(params: Mapping[str, object]) -> list[str]:
    """Return the ids to ack or nack. `check_ack_id` must approve those that no message has.

    Raises:
        BadRequestError: it is not a list with at least one string.
    """
    ids = params.get("ack_ids")
    if not isinstance(ids, list) or set(map(type, ids)) != {str}:
        raise _bad_ids()
    return ids


def check_ack_id(ack_id: str) -> None:
    """Approve an id that no message has.

    Raises:
        BadRequestError: it is not a UUID.
    """
    if _UUID.match(ack_id) is None:
        raise _bad_ids()


def _bad_ids() -> BadRequestError:
    return BadRequestError(
        "Invalid ack_ids. Must send a top-level `ack_ids` property that is a non-empty list of valid UUID strings"
    )


def accepts_json(header: str | None) -> bool:
    """Say whether an Accept header allows a JSON answer; no header allows anything."""
    if not header or not header.strip():
        return True
    for part in header.split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in ("*/*", "application/*", "application/json"):
            return True
    return False
