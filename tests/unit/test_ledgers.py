"""Reading a ledger that others write to."""

from __future__ import annotations

from pathlib import Path

from tests.support import read_ledger


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path):
    ledger = tmp_path / "ledger"
    assert read_ledger(ledger) == []
    ledger.write_text('{"event": "star')
    assert read_ledger(ledger) == []
    ledger.write_text('{"event": "started"}\n{"event": "ended", "job": "50, 5a')
    assert read_ledger(ledger) == [{"event": "started"}]
