"""Examples stay small enough to be read: each folder has a limit in lines.

All lines count, of code, tables and pages; only a README does not. What several examples share lies beside the folders.
"""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BASIC, MIDDLE = 150, 400
LIMITS = {
    "hello": BASIC,
    "subscription": BASIC,
    "trip": BASIC,
    "heartbeat": BASIC,
    "wordcount": BASIC,
    "outbox": MIDDLE,
    "mails": MIDDLE,
    "bonuses": MIDDLE,
    "renewals": MIDDLE,
    "uploads": MIDDLE,
    "taxi": MIDDLE,
    "rollout": MIDDLE,
    "workers": 4 * BASIC,  # in four languages
    "onboarding": 900,
    "payments": 2_972,  # the goal is 2,000: lower this when it gets smaller
}
MOST_LINES_OF_PAYMENTS_FILE = 250


def lines_of(example: str) -> dict[str, int]:
    """Return the lines of each file of an example."""
    files = [path for path in (EXAMPLES / example).rglob("*") if path.is_file() and path.name != "README.md"]
    return {
        str(path.relative_to(EXAMPLES)): len(path.read_text().splitlines())
        for path in files
        if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("example", LIMITS)
def test_limit(example: str) -> None:
    """An example's files together have no more lines than its limit."""
    lines = lines_of(example)
    assert lines
    assert sum(lines.values()) <= LIMITS[example], lines


def test_payments_files() -> None:
    """The largest example has no large file."""
    assert {name: count for name, count in lines_of("payments").items() if count > MOST_LINES_OF_PAYMENTS_FILE} == {}


def test_every_example() -> None:
    """Each folder has a limit, and each limit has a folder."""
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(LIMITS)
