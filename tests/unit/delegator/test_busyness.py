"""How long a process lets work gather."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.enqueue.busyness import Busyness

LONGEST = timedelta(milliseconds=100)


class Process:
    """Uses as much processor time as it is told to."""

    def __init__(self, longest: timedelta = LONGEST) -> None:
        self.now = self.used = 0.0
        self.busyness = Busyness(longest, clock=lambda: self.now, used=lambda: self.used)

    def pause_after(self, seconds: float, share: float) -> float:
        self.now += seconds
        self.used += seconds * share
        return self.busyness.pause()


@pytest.mark.parametrize(("share", "pause"), [(0.0, 0.0), (0.5, 0.0), (0.7, 0.05), (0.9, 0.1), (1.9, 0.1)])
def test_the_less_time_is_left_the_longer(share: float, pause: float) -> None:
    assert Process().pause_after(1.0, share) == pytest.approx(pause)


def test_idle_again_it_does_not_wait_any_more() -> None:
    process = Process()
    assert process.pause_after(1.0, 1.0) > 0
    assert process.pause_after(10.0, 0.0) == 0


def test_it_does_not_judge_by_a_moment() -> None:
    assert Process().pause_after(0.01, 1.0) == 0


def waited(process: Process, seconds: float, times: int = 50) -> None:
    for _ in range(times):
        process.busyness.workflow_waited(seconds)


@pytest.mark.parametrize(("wait", "pause"), [(0.0, 0.0), (0.02, 0.0), (0.1, 0.0), (0.6, 0.05), (1.1, 0.1), (60.0, 0.1)])
def test_where_workflows_wait_for_temporal_a_tenth_of_it_is_lost_in_the_queues(wait: float, pause: float) -> None:
    process = Process()
    waited(process, wait)
    assert process.busyness.pause() == pytest.approx(pause, abs=0.0005)


def test_one_workflow_that_begins_late_changes_little() -> None:
    process = Process()
    waited(process, 0.01)
    process.busyness.workflow_waited(3_600.0)
    assert process.busyness.pause() < 0.015


def test_a_backlog_that_is_gone_is_forgotten() -> None:
    process = Process()
    waited(process, 5.0)
    assert process.pause_after(1.0, 0.0) == pytest.approx(0.1, abs=0.0005)
    assert process.pause_after(1.5, 0.0) == 0
    process.busyness.workflow_waited(0.01)
    assert process.busyness.pause() == 0


def test_the_longer_of_both_counts() -> None:
    process = Process()
    waited(process, 0.6)
    assert process.pause_after(1.0, 0.6) == pytest.approx(0.05, abs=0.0005)
    assert process.pause_after(0.5, 0.8) == pytest.approx(0.075)


def test_zero_turns_it_off() -> None:
    process = Process(timedelta(0))
    waited(process, 5.0)
    assert process.pause_after(1.0, 1.0) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 4), st.floats(-1, 10_000))))
def test_never_longer_than_asked_for(steps: list[tuple[float, float, float]]) -> None:
    process = Process()
    for passed, share, wait in steps:
        process.busyness.workflow_waited(wait)
        assert 0 <= process.pause_after(passed, share) <= LONGEST.total_seconds() * (1 + 1e-9)
