"""Points in time as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from delegator.errors import ConfigurationError

_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_moment(text: str, option: str) -> datetime | timedelta:
    """Return a time with its zone, or how long ago it is.

    Args:
        text: a duration (`90s`, `1h30m`, `2d`) or an ISO 8601 time; without an offset it is UTC.
        option: named in the error.

    Raises:
        ConfigurationError: it is neither.
    """
    try:
        if _DURATION.fullmatch(text):
            return sum((timedelta(**{_UNITS[unit]: float(count)}) for count, unit in _PART.findall(text)), timedelta())
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option} {text}: neither a duration (90s, 1h30m, 2d) nor an ISO 8601 time (2026-01-31T12:00:00+01:00)"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
