"""What the relay says of its slots."""

from __future__ import annotations

import logging

import pytest

from delegator.postgres.relay_lock import SlotLag
from delegator.relay.ingest import Ingest
from delegator.relay.state import StreamState
from delegator.relay.store import Budget, Stream


def test_endangered_slot(caplog: pytest.LogCaptureFixture) -> None:
    """A slot that has used half of its WAL is logged once as an error, and once when it is safe again."""
    caplog.set_level(logging.INFO)
    state = StreamState(Ingest(Stream("t", Budget(10, 1000, 0.5), 30.0)))
    for retained, safe in [(10, None), (40, 60), (60, 40), (70, 30), (10, 90)]:
        state.slot_seen("s", SlotLag(5, retained, "extended", safe))
    state.slot_seen("s", SlotLag(5, 100, "unreserved", None))
    state.slot_seen("s", None)
    assert [(record.message, record.levelname) for record in caplog.records] == [
        ("relay_slot_endangered", "ERROR"),
        ("relay_slot_safe", "INFO"),
        ("relay_slot_endangered", "ERROR"),
    ]
    assert state.lag == state.retained == 0
