"""Parses durations and times in settings and on command lines."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from delegator.errors import ConfigurationError

_NUMBER: Final = r"\d+(?:\.\d+)?"
_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_SECONDS: Final = re.compile(_NUMBER, re.ASCII)
_PART: Final = re.compile(rf"({_NUMBER})(ms|[wdhms])", re.ASCII)
_PARTS: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_ISO_8601: Final = re.compile(
    rf"P(?=.)(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?", re.ASCII
)
_FORMS: Final = "seconds (20, 0.5), 90s, 1h30m, 2d, or ISO 8601 (PT20S)"


def parse_duration(text: str, name: str) -> timedelta:
    """Return a duration. It is never negative.

    Args:
        text: seconds (`20`, `0.5`), numbers with units (`500ms`, `90s`, `1h30m`, `2d`, `1w`), or ISO 8601 (`PT20S`).
        name: the setting or option, for the message.

    Raises:
        ConfigurationError: the text has none of these forms, or is too long a duration.
    """
    duration = _duration(text.strip())
    if duration is None:
        raise ConfigurationError(f"{name} {text}: not a duration; write {_FORMS}")
    return duration


def parse_moment(text: str, name: str) -> datetime | timedelta:
    """Return a time with its zone, or a duration before now.

    Args:
        text: an ISO 8601 time, in UTC if it has no offset, or a duration as in `parse_duration`.
        name: the option, for the message.

    Raises:
        ConfigurationError: the text has neither form.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        duration = _duration(text.strip())
        if duration is None:
            raise ConfigurationError(
                f"{name} {text}: neither a time (2026-01-31T12:00:00+01:00) nor a duration; write {_FORMS}"
            ) from None
        return duration
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def short_duration(duration: timedelta) -> str:
    """Return a duration in its two largest units, such as `3d4h` or `1.5s`. A negative one counts as none."""
    seconds = max(duration.total_seconds(), 0.0)
    if seconds < 10:
        return f"{round(seconds, 1):g}s"
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{int(count)}{unit}")
        if (parts and not count) or len(parts) == 2:
            break
    return "".join(parts)


def _duration(text: str) -> timedelta | None:
    try:
        if _SECONDS.fullmatch(text):
            return timedelta(seconds=float(text))
        if _PARTS.fullmatch(text):
            parts = ((_UNITS[unit], float(count)) for count, unit in _PART.findall(text))
        elif (match := _ISO_8601.fullmatch(text)) is not None:
            names = ("weeks", "days", "hours", "minutes", "seconds")
            parts = ((unit, float(count)) for unit, count in zip(names, match.groups(), strict=True) if count)
        else:
            return None
        return sum((timedelta(**{unit: count}) for unit, count in parts), timedelta())
    except OverflowError:
        return None
