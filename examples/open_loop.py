"""A load run in an open loop: when something is asked for, what was seen of it, and what must hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psutil

from loadtest.results.run_result import percentile

_SAMPLE_SECONDS = 5.0


def moments(steps: Sequence[tuple[float, float]], *, poisson: bool) -> Iterator[float]:
    """Return when things are asked for.

    Args:
        steps: requests in a second, and for how many seconds.
        poisson: the distances are random, as those of people who do not know of each other; else they are equal.
    """
    begin = 0.0
    for rate, seconds in steps:
        moment = begin
        while moment < begin + seconds:
            yield moment
            moment += random.expovariate(rate) if poisson else 1 / rate
        begin += seconds


class Check(NamedTuple):
    """A threshold or an invariant, and whether it is kept."""

    what: str
    holds: bool


@dataclass(frozen=True)
class Seen:
    """What was seen of one workflow. Moments are seconds from the run's begin."""

    key: str
    """What its state is found by."""
    intended: float
    """When it should have been asked for."""
    started: float
    """When it was. The difference is the generator's fault."""
    accepted: float
    """When the API had accepted it."""
    ended: float
    """When its workflow had ended."""
    refusals: int
    """How often the API answered 503 before it accepted it."""

    @property
    def seconds(self) -> float:
        """From the intended moment to the end, so a late start counts."""
        return self.ended - self.intended

    @property
    def lag(self) -> float:
        """How many seconds late it was started."""
        return self.started - self.intended


@dataclass
class Measured:
    """Everything a run saw."""

    seen: list[Seen] = field(default_factory=list)
    """Its workflows, in the order of their ends."""
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the API answers about each at the end, by its key."""
    marks: dict[str, float] = field(default_factory=dict)
    """When a disturbance began or ended."""
    samples: list[dict[str, float]] = field(default_factory=list)
    """Values that must not grow, every few seconds."""
    notes: list[str] = field(default_factory=list)
    """What is reported beside the checks."""

    @property
    def statuses(self) -> Counter[str]:
        """Number of workflows by their final status."""
        return Counter(str(state["status"]) for state in self.states.values())

    def between(self, begin: float, end: float) -> list[Seen]:
        """Return the workflows that were intended within a span."""
        return [one for one in self.seen if begin <= one.intended < end]


async def watch(measured: Measured, sample: Callable[[], Awaitable[dict[str, float]]]) -> None:
    """Take a sample every few seconds, until it is cancelled."""
    while True:
        await asyncio.sleep(_SAMPLE_SECONDS)
        with suppress(Exception):  # servers that are killed answer nothing; the next sample is as good
            measured.samples.append(await sample())


def memory_mb(pids: Iterable[int]) -> float:
    """Return the memory that processes have together. One that has ended has none."""
    rss = 0
    for pid in pids:
        with suppress(psutil.Error):
            rss += psutil.Process(pid).memory_info().rss
    return rss / 1e6


def quantile(values: Iterable[float], percent: float) -> float:
    """Return a quantile; 0 of nothing."""
    ordered = sorted(values)
    return percentile(ordered, percent) if ordered else 0.0


def seconds_of(seen: Sequence[Seen], percent: float = 95) -> float:
    """Return a quantile of the workflows' seconds."""
    return quantile((one.seconds for one in seen), percent)


def no_slope(samples: Sequence[dict[str, float]], name: str, slack: float) -> Check:
    """Check that a value does not grow: its last third's median is at most 1.3 times its second third's, plus slack.

    The first third warms up.
    """
    values = [sample[name] for sample in samples if name in sample]
    size = max(1, len(values) // 3)
    before, after = quantile(values[size : 2 * size], 50), quantile(values[-size:], 50)
    return Check(f"no slope of {name}: {before:,.0f} before, {after:,.0f} at the end", after <= 1.3 * before + slack)
