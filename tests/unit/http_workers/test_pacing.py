from __future__ import annotations

from datetime import timedelta

import pytest

from http_workers.pacing import EmptyReplyPacer

WAIT = timedelta(seconds=5)
EARLY = timedelta(milliseconds=50)


def test_early_empty_replies():
    """The pause after empty replies that come too early doubles each time, up to its limit."""
    pacer = EmptyReplyPacer()
    pauses = [pacer.pause(0, EARLY, WAIT) for _ in range(9)]
    assert pauses == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25, 0.25])


@pytest.mark.parametrize(("received", "elapsed"), [(3, EARLY), (0, WAIT), (0, WAIT * 0.95)])
def test_reset(received: int, elapsed: timedelta):
    """Messages, or a wait as long as asked for, end the pauses and set them back to the first."""
    pacer = EmptyReplyPacer()
    for _ in range(5):
        pacer.pause(0, EARLY, WAIT)
    assert pacer.pause(received, elapsed, WAIT) == 0.0
    assert pacer.pause(0, EARLY, WAIT) == pytest.approx(0.005)


def test_poll_without_wait():
    """An empty reply to a poll that did not ask for a wait causes a pause, too."""
    pacer = EmptyReplyPacer()
    assert pacer.pause(0, timedelta(0), timedelta(0)) > 0
