"""Who gets how much: a pure function."""

from __future__ import annotations

_HIGH = 100_000
_MOST = 5_000


def bonus(spent: int) -> int:
    """Return 1 % of what a user has spent, 2 % from 1,000.00 on, and 50.00 at most, in cents, rounded down.

    Raises:
        ValueError: the amount is negative.
    """
    if spent < 0:
        raise ValueError(f"spent {spent} cents")
    return min(spent * (2 if spent >= _HIGH else 1) // 100, _MOST)
