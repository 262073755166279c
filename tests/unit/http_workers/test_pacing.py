from __future__ import annotations

from datetime import timedelta

import pytest

from http_workers.pacing import EmptyReplyPacer

WAIT = timedelta(seconds=5)
EARLY = timedelta(milliseconds=50)


def test_early_empty_replies_pause_twice_as_long_each_time_up_to_the_limit():
    pacer = EmptyReplyPacer()
    pauses = [pacer.pause(0, EARLY, WAIT) for _ in range(9)]
    assert pauses == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25, 0.25])


@pytest.mark.parametrize(("received", "elapsed"), [(3, EARLY), (0, WAIT), (0, WAIT * 0.95)])
def test_messages_or_a_real_wait_need_no_pause_and_start_anew(received: int, elapsed: timedelta):
    pacer = EmptyReplyPacer()
    for _ in range(5):
        pacer.pause(0, EARLY, WAIT)
    assert pacer.pause(received, elapsed, WAIT) == 0.0
    assert pacer.pause(0, EARLY, WAIT) == pytest.approx(0.005)


def test_a_stream_that_was_not_asked_to_wait_is_paced_too():
    pacer = EmptyReplyPacer()
    assert pacer.pause(0, timedelta(0), timedelta(0)) > 0
