"""Reading a ledger that others write to."""

from __future__ import annotations

from pathlib import Path

from tests.support import read_ledger


def test_incomplete_line(tmp_path: Path):
    """A line that is still being written is left for the next reading."""
    ledger = tmp_path / "ledger"
    assert read_ledger(ledger) == []
    ledger.write_text('{"event": "star')
    assert read_ledger(ledger) == []
    ledger.write_text('{"event": "started"}\n{"event": "ended", "job": "50, 5a')
    assert read_ledger(ledger) == [{"event": "started"}]
