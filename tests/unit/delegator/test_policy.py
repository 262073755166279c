"""The decision whether to wait inline, and for how long."""

from __future__ import annotations

from delegator.enqueue.policy import NO_WAIT, InlineLimit, InlinePolicy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policy(clock: Clock | None = None, wait: float = 1.0) -> InlinePolicy:
    return InlinePolicy(wait, slots=10, clock=clock or Clock())


def seconds(decides: InlinePolicy, job_type: str = "t", asked_ms: int | None = None, waiting: int = 0) -> float:
    """Return how long a workflow task's first request waits."""
    return decides.seconds_left(decides.limit_for(job_type, asked_ms, waiting, None))


def test_unknown_type():
    """A job of a type without history gets the whole inline wait."""
    assert seconds(policy()) == 1.0


def test_wait_of_call():
    """A call may ask for another inline wait, or for none."""
    assert seconds(policy(), asked_ms=250) == 0.25
    assert seconds(policy(), asked_ms=2_500) == 2.5
    assert seconds(policy(), asked_ms=0) == 0.0


def test_worker_without_wait():
    """A worker without an inline wait does not wait for a call that asks for one."""
    assert seconds(policy(wait=0.0), asked_ms=250) == 0.0


def test_half_of_slots_wait():
    """No further job is awaited while half of the slots wait."""
    assert seconds(policy(), waiting=5) == 1.0
    assert seconds(policy(), waiting=6) == 0.0


def test_task_grows_old():
    """The requests of one workflow task share the wait, however many they are."""
    clock = Clock()
    decides = policy(clock)
    began_at = clock.now
    clock.now += 0.75
    assert decides.seconds_left(decides.limit_for("t", None, 0, began_at)) == 0.25
    assert decides.seconds_left(decides.limit_for("t", 100, 0, began_at)) == 0.1
    assert decides.seconds_left(decides.limit_for("t", 2_000, 0, began_at)) == 1.25
    clock.now += 0.25
    assert decides.limit_for("t", None, 0, began_at) == NO_WAIT
    assert decides.limit_for("t", 100, 0, began_at) == NO_WAIT
    assert decides.seconds_left(decides.limit_for("t", 2_000, 0, began_at)) == 1.0
    assert decides.seconds_left(decides.limit_for("t", None, 0, clock.now)) == 1.0


def test_slow_enqueue():
    """The time that enqueueing takes is part of the workflow task's age."""
    clock = Clock()
    decides = policy(clock)
    limit = decides.limit_for("t", None, 0, None)
    clock.now += 0.75
    assert decides.seconds_left(limit) == 0.25
    clock.now += 1
    assert decides.seconds_left(limit) == 0.0


def test_limits_together():
    """Jobs that are awaited together are awaited as long as the most patient of them."""
    assert NO_WAIT.merged(InlineLimit(1.0, 5.0)).merged(InlineLimit(0.5, 6.0)) == InlineLimit(1.0, 6.0)


def test_slow_type():
    """A slow type is no longer awaited, but for one job now and then; fast jobs bring it back."""
    clock = Clock()
    slow = policy(clock)
    for _ in range(20):
        slow.learn("t", 0.0)
    assert seconds(slow) == 0.0
    assert seconds(slow, "other") == 1.0
    clock.now += 11
    assert seconds(slow) == 1.0
    assert seconds(slow) == 0.0
    for _ in range(20):
        slow.learn("t", 1.0)
    assert seconds(slow) == 1.0


def test_one_slow_job():
    """One slow job does not end the waits for its type."""
    patient = policy()
    patient.learn("t", 0.0)
    assert seconds(patient) == 1.0


def test_wait_cut_short():
    """A type whose jobs need most of the wait is awaited, although every second one of a chain has too little left."""
    patient = policy()
    for _ in range(100):
        patient.learn("t", 1.0)
        patient.learn("t", 0.0, share_of_wait=0.4)
    assert seconds(patient) == 1.0
