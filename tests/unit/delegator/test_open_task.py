"""What the requests of a workflow task share."""

from __future__ import annotations

from delegator.workflow.open_task import REPLY_BYTES_PER_TASK, OpenTask


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_age_of_task():
    """The age counts from the first request of a workflow task, however many requests follow."""
    clock = Clock()
    task = OpenTask(clock)
    for _ in range(3):
        task.note_request(3)
        clock.now += 0.25
        task.note_reply(10)
    assert task.began_at == 1000.0
    clock.now += 5
    task.note_request(9)
    assert task.began_at == clock.now


def test_task_that_follows_at_once():
    """A task that begins as soon as another has ended counts the age of that one, but not of the one before."""
    clock = Clock()
    task = OpenTask(clock)
    task.note_request(3)
    clock.now += 1.0
    task.note_reply(10)
    clock.now += 0.0625
    task.note_request(9)
    assert task.began_at == clock.now - 1.0
    clock.now += 0.125
    task.note_reply(10)
    clock.now += 0.0625
    task.note_request(15)
    assert task.began_at == clock.now - 0.125


def test_room_for_replies():
    """Every workflow task has room for the same number of bytes."""
    task = OpenTask(Clock())
    task.note_request(3)
    task.note_reply(1000)
    assert task.reply_bytes_left == REPLY_BYTES_PER_TASK - 1000
    task.note_reply(REPLY_BYTES_PER_TASK)
    assert task.reply_bytes_left == 0
    task.note_request(9)
    assert task.reply_bytes_left == REPLY_BYTES_PER_TASK
