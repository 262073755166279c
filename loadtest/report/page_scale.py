"""From numbers to places on an axis."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_TICKS: Final = 6
_NINES: Final = {0: "min", 50: "p50", 75: "p75", 90: "p90", 95: "p95", 99: "p99", 100: "max"}
_TINY: Final = 1e-9  # what is less is nothing
_LAST: Final = 2.35  # where the maximum stands on the axis of percentiles, on which p90 is 1 and p99 is 2


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    value: float
    """In units of the axis."""
    label: str | None = None
    """What it is called, if not by its value."""


class Scale(ABC):
    """One axis."""

    @abstractmethod
    def place(self, value: float) -> float:
        """Return where a value stands: from 0 (the beginning) to 1; what is outside stands at the nearer end."""

    @property
    @abstractmethod
    def ticks(self) -> Sequence[Tick]:
        """The marks, ascending."""


class Linear(Scale):
    """From zero to a round number."""

    def __init__(self, largest: float) -> None:
        """Make an axis.

        Args:
            largest: what must fit; with nothing above zero the axis ends at one.
        """
        largest = largest if largest > _TINY else 1.0
        step = _step(largest)
        count = max(math.ceil(largest / step - 1e-9), 1)
        self._ticks = [Tick(step * number) for number in range(count + 1)]
        self.end = step * count

    def place(self, value: float) -> float:
        """See the base class."""
        return min(max(value / self.end, 0.0), 1.0)

    @property
    def ticks(self) -> Sequence[Tick]:
        """The marks, ascending."""
        return self._ticks


class Logarithmic(Scale):
    """From one round number to another, each power of ten as long as the next."""

    def __init__(self, smallest: float, largest: float) -> None:
        """Make an axis.

        Args:
            smallest: what must fit; what is not above zero stands at the beginning.
            largest: what must fit, not below `smallest`.
        """
        largest = max(largest, _TINY)
        smallest = max(smallest, largest * _TINY, _TINY)
        least, most = math.log10(smallest), math.log10(largest)
        steps = [
            (math.log10(base) + power, base * 10.0**power)
            for power in range(math.floor(least) - 1, math.ceil(most) + 2)
            for base in (1, 2, 5)
        ]
        first = max(index for index, (at, _) in enumerate(steps) if at <= least + 1e-9)
        last = max(min(index for index, (at, _) in enumerate(steps) if at >= most - 1e-9), first + 1)
        self._least, self._most = steps[first][0], steps[last][0]
        shown = steps[first : last + 1]
        if len(shown) > _MOST_TICKS + 1:
            powers = [step for step in shown if abs(step[0] - round(step[0])) < 1e-9]
            shown = powers[:: math.ceil(len(powers) / _MOST_TICKS)]
        self._ticks = [Tick(value) for _, value in shown]

    def place(self, value: float) -> float:
        """See the base class."""
        if value <= 0:
            return 0.0
        return min(max((math.log10(value) - self._least) / (self._most - self._least), 0.0), 1.0)

    @property
    def ticks(self) -> Sequence[Tick]:
        """The marks, ascending."""
        return self._ticks


class Percentiles(Scale):
    """From the least value over p90 and p99 to the greatest, so that the slow ones have room."""

    def place(self, value: float) -> float:
        """See the base class; `value` in percent."""
        if value >= 100:
            return 1.0
        return min(-math.log10(1 - max(value, 0.0) / 100), _LAST) / _LAST

    @property
    def ticks(self) -> Sequence[Tick]:
        """The marks, ascending."""
        return [Tick(value, label) for value, label in _NINES.items()]


def _step(largest: float) -> float:
    rough = largest / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))
