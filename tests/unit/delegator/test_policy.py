"""Whether to wait inline."""

from __future__ import annotations

from delegator.enqueue.policy import InlinePolicy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policy(clock: Clock | None = None, wait: float = 1.0) -> InlinePolicy:
    return InlinePolicy(wait, slots=10, clock=clock or Clock())


def test_an_unknown_type_is_waited_for():
    assert policy().wait_for("t", None, waiting=0) == 1.0


def test_a_call_may_ask_for_another_wait_or_none():
    assert policy().wait_for("t", 250, waiting=0) == 0.25
    assert policy().wait_for("t", 0, waiting=0) == 0.0


def test_a_worker_that_never_waits_does_so_for_nobody():
    assert policy(wait=0.0).wait_for("t", 250, waiting=0) == 0.0


def test_nobody_waits_while_half_of_the_slots_do():
    assert policy().wait_for("t", None, waiting=5) == 1.0
    assert policy().wait_for("t", None, waiting=6) == 0.0


def test_a_slow_type_is_given_up_and_tried_again_now_and_then():
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


def test_one_slow_job_changes_nothing():
    patient = policy()
    patient.learn("t", 0.0)
    assert patient.wait_for("t", None, waiting=0) == 1.0
