"""How long a process lets work gather."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.busyness import Busyness

LONGEST = timedelta(milliseconds=50)


class Process:
    """Uses as much processor time as it is told to."""

    def __init__(self, longest: timedelta = LONGEST) -> None:
        self.now = self.used = 0.0
        self.busyness = Busyness(longest, clock=lambda: self.now, used=lambda: self.used)

    def pause_after(self, seconds: float, share: float) -> float:
        self.now += seconds
        self.used += seconds * share
        return self.busyness.pause()


@pytest.mark.parametrize(("share", "pause"), [(0.0, 0.0), (0.4, 0.0), (0.6, 0.025), (0.8, 0.05), (1.9, 0.05)])
def test_the_less_time_is_left_the_longer(share: float, pause: float) -> None:
    assert Process().pause_after(1.0, share) == pytest.approx(pause)


def test_idle_again_it_does_not_wait_any_more() -> None:
    process = Process()
    assert process.pause_after(1.0, 1.0) > 0
    assert process.pause_after(10.0, 0.0) == 0


def test_it_does_not_judge_by_a_moment() -> None:
    assert Process().pause_after(0.01, 1.0) == 0


def test_zero_turns_it_off() -> None:
    assert Process(timedelta(0)).pause_after(1.0, 1.0) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 4))))
def test_never_longer_than_asked_for(steps: list[tuple[float, float]]) -> None:
    process = Process()
    assert all(0 <= process.pause_after(*step) <= LONGEST.total_seconds() for step in steps)
