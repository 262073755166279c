"""Durations on command lines."""

from __future__ import annotations

from datetime import timedelta

from delegator.errors import ConfigurationError


def seconds(option: str, value: float) -> timedelta:
    """Return a number of seconds as a duration.

    Args:
        option: for the message.
        value: the seconds.

    Raises:
        ConfigurationError: the number is too large, or none.
    """
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise ConfigurationError(f"{option} {value}: not a usable number of seconds") from None
