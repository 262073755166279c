"""How the mock provider behaves: up, slow, broken, away. Its control API sets this."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self


@dataclass(frozen=True)
class Behaviour:
    """How requests are answered, and what the callbacks are like."""

    mode: str = "up"
    """up; error: 503 to all; busy: 429; refuse: connections are refused; lose: does the work and never answers."""
    delay: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Least and most seconds until a charge is answered."""
    outcome: str = "captured"
    """captured; declined: by callback; refused: by 402."""
    callback_after: float = 0.05
    """Seconds from the charge to its callback."""
    repeats: list[int] = field(default_factory=lambda: [1, 1])
    """Least and most times that a callback is sent."""
    silent_share: float = 0.0
    """Share of the charges without a callback."""
    early_share: float = 0.0
    """Share of the charges whose callback comes before the answer."""
    contradicts: bool = False
    """Whether a second callback says the opposite of the first one."""

    def changed(self, values: dict[str, Any]) -> Self:
        """Return a copy with other values.

        Raises:
            ValueError: there is no such value.
        """
        if unknown := values.keys() - {one.name for one in fields(self)}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return replace(self, **values)
