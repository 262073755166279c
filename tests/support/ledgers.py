"""Ledgers: files to which several processes append a line of JSON each time something happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the entries so far. A last line without an end is being written: its pages become visible one by one."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]
