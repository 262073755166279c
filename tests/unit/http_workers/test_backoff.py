from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.runtime.backoff import Backoff

MILLISECONDS = st.integers(min_value=1, max_value=60_000)


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


@given(first=MILLISECONDS, factor=st.integers(1, 10_000), attempts=st.integers(1, 200), seed=st.integers())
def test_pause_limits(first: int, factor: int, attempts: int, seed: int):
    """Each pause is below a limit that doubles with every attempt, up to the longest pause."""
    low, high = timedelta(milliseconds=first), timedelta(milliseconds=first * factor)
    jittered, ceilings = Backoff(low, high, rng=random.Random(seed)), Backoff(low, high, rng=Highest())
    for attempt in range(attempts):
        ceiling = ceilings.next()
        assert ceiling == pytest.approx(min(high.total_seconds(), low.total_seconds() * 2 ** min(attempt, 60)))
        assert 0 <= jittered.next() <= ceiling


@given(attempts=st.integers(1, 50))
def test_reset(attempts: int):
    """After reset() the pauses start from the shortest one."""
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=64), rng=Highest())
    for _ in range(attempts):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 1.0


def test_jitter():
    """Pauses are spread over the whole range from zero to the limit."""
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=1), rng=random.Random(7))
    pauses = [backoff.next() for _ in range(500)]
    assert min(pauses) < 0.05
    assert max(pauses) > 0.95


@pytest.mark.parametrize(("first", "longest"), [(0, 1), (-1, 1), (2, 1)])
def test_bad_range(first: int, longest: int):
    """A range whose first pause is not positive, or longer than the longest one, is refused."""
    with pytest.raises(ValueError, match="first"):
        Backoff(timedelta(seconds=first), timedelta(seconds=longest))


async def test_sleep():
    """sleep() lasts as long as the pause, and ends early when a stop is requested."""
    backoff = Backoff(timedelta(milliseconds=30), rng=Highest())
    began = time.monotonic()
    await backoff.sleep()
    assert time.monotonic() - began >= 0.025

    stop = asyncio.Event()
    await backoff.sleep(stop)
    stop.set()
    slow = Backoff(timedelta(seconds=600), timedelta(seconds=600), rng=Highest())
    async with asyncio.timeout(60):
        await slow.sleep(stop)
