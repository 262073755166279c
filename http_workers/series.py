"""Series that are touched for every job.

`prometheus_client` takes a lock and walks a histogram's buckets in Python, which for a short job costs a tenth of
everything. These belong to the event loop alone and are read by the health server's thread as they are at the moment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper bounds of a histogram's buckets."""


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Count one more."""
        self.value += 1


class Counts(Collector):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        """Register it.

        Args:
            name: without `_total`.
            documentation: for people.
            labels: their names.
            registry: where it is exposed.
        """
        self._family = name, documentation, labels
        self._series: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return the series with these values of the labels."""
        return self._series.setdefault(values, Count())

    def describe(self) -> Iterable[CounterMetricFamily]:
        """See the base class."""
        name, documentation, labels = self._family
        return [CounterMetricFamily(name, documentation, labels=labels)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See the base class."""
        (family,) = self.describe()
        for values, count in list(self._series.items()):
            family.add_metric(values, count.value)
        return [family]


class Durations:
    """One series of a histogram."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


class DurationHistogram(Collector):
    """A histogram of seconds, with labels or without."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        """Register it.

        Args:
            name: of the series, without suffix.
            documentation: for people.
            labels: their names.
            registry: where it is exposed.
        """
        self._family = name, documentation, labels
        self._series: dict[tuple[str, ...], Durations] = {}
        registry.register(self)

    def labels(self, *values: str) -> Durations:
        """Return the series with these values of the labels."""
        return self._series.setdefault(values, Durations())

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """See the base class."""
        name, documentation, labels = self._family
        return [HistogramMetricFamily(name, documentation, labels=labels)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """See the base class."""
        (family,) = self.describe()
        for values, durations in list(self._series.items()):
            bounds = [*map(floatToGoString, SECONDS), "+Inf"]
            family.add_metric(
                values, list(zip(bounds, accumulate(durations.counts), strict=True)), sum_value=durations.total
            )
        return [family]
