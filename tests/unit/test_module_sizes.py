"""Modules stay small enough to be read at one sitting."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
FOLDERS = ("delegator", "http_workers", "schema", "loadtest", "examples", "docs")


def test_modules_stay_small() -> None:
    """No module of the product has more than 400 lines."""
    modules = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}
    assert lines
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
