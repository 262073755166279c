"""The decision whether to wait inline, and for how long."""

from __future__ import annotations

from delegator.enqueue.policy import InlinePolicy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policy(clock: Clock | None = None, wait: float = 1.0) -> InlinePolicy:
    return InlinePolicy(wait, slots=10, clock=clock or Clock())


def test_unknown_type():
    """A job of a type without history gets the whole inline wait."""
    assert policy().wait_for("t", None, waiting=0) == 1.0


def test_wait_of_call():
    """A call may ask for another inline wait, or for none."""
    assert policy().wait_for("t", 250, waiting=0) == 0.25
    assert policy().wait_for("t", 0, waiting=0) == 0.0


def test_worker_without_wait():
    """A worker without an inline wait does not wait for a call that asks for one."""
    assert policy(wait=0.0).wait_for("t", 250, waiting=0) == 0.0


def test_half_of_slots_wait():
    """No further job is awaited while half of the slots wait."""
    assert policy().wait_for("t", None, waiting=5) == 1.0
    assert policy().wait_for("t", None, waiting=6) == 0.0


def test_slow_type():
    """A slow type is no longer awaited, but for one job now and then; fast jobs bring it back."""
    clock = Clock()
    slow = policy(clock)
    for _ in range(20):
        slow.learn("t", 0.0)
    assert slow.wait_for("t", None, waiting=0) == 0.0
    assert slow.wait_for("other", None, waiting=0) == 1.0
    clock.now += 11
    assert slow.wait_for("t", None, waiting=0) == 1.0
    assert slow.wait_for("t", None, waiting=0) == 0.0
    for _ in range(20):
        slow.learn("t", 1.0)
    assert slow.wait_for("t", None, waiting=0) == 1.0


def test_one_slow_job():
    """One slow job does not end the waits for its type."""
    patient = policy()
    patient.learn("t", 0.0)
    assert patient.wait_for("t", None, waiting=0) == 1.0
