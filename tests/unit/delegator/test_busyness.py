"""How long a process gathers calls before it writes them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.enqueue.busyness import Busyness

LONGEST = timedelta(milliseconds=100)


class Process:
    """Uses as much processor time as the test asks for."""

    def __init__(self, longest: timedelta = LONGEST) -> None:
        self.now = self.used = 0.0
        self.busyness = Busyness(longest, clock=lambda: self.now, used=lambda: self.used)

    def pause_after(self, seconds: float, share: float) -> float:
        self.now += seconds
        self.used += seconds * share
        return self.busyness.pause()


@pytest.mark.parametrize(("share", "pause"), [(0.0, 0.0), (0.5, 0.0), (0.7, 0.05), (0.9, 0.1), (1.9, 0.1)])
def test_pause_grows_with_load(share: float, pause: float) -> None:
    """The pause grows with the share of processor time that the process uses."""
    assert Process().pause_after(1.0, share) == pytest.approx(pause)


def test_idle_process() -> None:
    """A process that is idle again does not pause."""
    process = Process()
    assert process.pause_after(1.0, 1.0) > 0
    assert process.pause_after(10.0, 0.0) == 0


def test_short_measurement() -> None:
    """A measurement of a short moment causes no pause."""
    assert Process().pause_after(0.01, 1.0) == 0


def waited(process: Process, seconds: float, times: int = 50) -> None:
    for _ in range(times):
        process.busyness.workflow_waited(seconds)


@pytest.mark.parametrize(("wait", "pause"), [(0.0, 0.0), (0.02, 0.0), (0.1, 0.0), (0.6, 0.05), (1.1, 0.1), (60.0, 0.1)])
def test_pause_grows_with_waits(wait: float, pause: float) -> None:
    """The pause is a tenth of the time that workflows waited for their first task."""
    process = Process()
    waited(process, wait)
    assert process.busyness.pause() == pytest.approx(pause, abs=0.0005)


def test_one_late_workflow() -> None:
    """One workflow that waited long changes the pause little."""
    process = Process()
    waited(process, 0.01)
    process.busyness.workflow_waited(3_600.0)
    assert process.busyness.pause() < 0.015


def test_backlog_is_over() -> None:
    """The pause ends soon after workflows no longer wait."""
    process = Process()
    waited(process, 5.0)
    assert process.pause_after(1.0, 0.0) == pytest.approx(0.1, abs=0.0005)
    assert process.pause_after(1.5, 0.0) == 0
    process.busyness.workflow_waited(0.01)
    assert process.busyness.pause() == 0


def test_longer_pause_wins() -> None:
    """The pause is the longer one of those for load and for waits."""
    process = Process()
    waited(process, 0.6)
    assert process.pause_after(1.0, 0.6) == pytest.approx(0.05, abs=0.0005)
    assert process.pause_after(0.5, 0.8) == pytest.approx(0.075)


def test_zero_limit() -> None:
    """A limit of zero means that the process never pauses."""
    process = Process(timedelta(0))
    waited(process, 5.0)
    assert process.pause_after(1.0, 1.0) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 4), st.floats(-1, 10_000))))
def test_pause_limit(steps: list[tuple[float, float, float]]) -> None:
    """No measurement makes the pause longer than its limit."""
    process = Process()
    for passed, share, wait in steps:
        process.busyness.workflow_waited(wait)
        assert 0 <= process.pause_after(passed, share) <= LONGEST.total_seconds() * (1 + 1e-9)
