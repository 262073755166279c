"""Metrics that change with every job or every call.

`prometheus_client` takes a lock, and walks a histogram's buckets in Python. For a short job that is a tenth of the
time. Only the event loop writes these series. The health server's thread reads them without a lock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper bounds of the buckets of a histogram of durations."""
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
"""Upper bounds of the buckets of a histogram of numbers."""


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, count: int = 1) -> None:
        """Count so many more."""
        self.value += count


class Distribution:
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


One = TypeVar("One")
Family = TypeVar("Family", bound=Metric)


class _Labelled(Collector, Generic[One, Family]):
    """Series that differ in the values of their labels."""

    def __init__(
        self,
        family: Callable[[], Family],
        one: Callable[[], One],
        add: Callable[[Family, Sequence[str], One], None],
        registry: CollectorRegistry,
    ) -> None:
        self._family = family
        self._one = one
        self._add = add
        self._series: dict[tuple[str, ...], One] = {}
        registry.register(self)

    def labels(self, *values: str) -> One:
        """Return the series with these values of the labels."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = self._one()
        return found

    def every(self) -> list[One]:
        """Return all series."""
        return list(self._series.values())

    def describe(self) -> Iterable[Metric]:
        """See the base class."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """See the base class."""
        family = self._family()
        for values, one in list(self._series.items()):
            self._add(family, values, one)
        return [family]


class Counts(_Labelled[Count, CounterMetricFamily]):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        """Register it.

        Args:
            name: the name without `_total`.
            documentation: the help text.
            labels: the names of the labels.
            registry: where it is exposed.
        """
        super().__init__(lambda: CounterMetricFamily(name, documentation, labels=labels), Count, _add_count, registry)


class _Histogram(_Labelled[Distribution, HistogramMetricFamily]):
    """A histogram, with labels or without."""

    bounds: Sequence[float]
    """Upper bounds of its buckets."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        """Register it.

        Args:
            name: the name without suffix.
            documentation: the help text.
            labels: the names of the labels.
            registry: where it is exposed.
        """
        super().__init__(
            lambda: HistogramMetricFamily(name, documentation, labels=labels),
            lambda: Distribution(self.bounds),
            _add_distribution,
            registry,
        )


class DurationHistogram(_Histogram):
    """A histogram of seconds."""

    bounds = SECONDS


class SizeHistogram(_Histogram):
    """A histogram of numbers of things."""

    bounds = SIZES


def _add_count(family: CounterMetricFamily, labels: Sequence[str], count: Count) -> None:
    family.add_metric(labels, count.value)


def _add_distribution(family: HistogramMetricFamily, labels: Sequence[str], values: Distribution) -> None:
    bounds = [*map(floatToGoString, values.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(values.counts), strict=True))
    family.add_metric(labels, buckets, sum_value=values.total)
