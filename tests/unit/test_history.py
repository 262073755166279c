"""The checker of histories finds each kind of broken promise."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.history import violations


def history(*events: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"event": event, "workflow": "w", "number": 0, "job": "j", "attempt": attempt} for event, attempt in events]


@pytest.mark.parametrize(
    "events",
    [
        (("start", 1), ("end", 1)),
        (("start", 1), ("start", 2), ("end", 2)),
        (("start", 1), ("start", 2), ("end", 1), ("end", 2)),  # the first was paused, and its result dropped
        (("start", 2), ("end", 2), ("start", 1)),  # enqueued again after its outcome
    ],
)
def test_sound(events: tuple[tuple[str, int], ...]) -> None:
    got = max(attempt for event, attempt in events if event == "end")
    assert violations(history(*events), {"w": [got]}, most_attempts=2) == []


@pytest.mark.parametrize(
    ("events", "got", "says"),
    [
        ((), 1, "has not run"),
        ((("start", 1),), 1, "has not run to its end"),
        ((("start", 1), ("start", 2), ("end", 1), ("end", 2)), 1, "fenced"),
        ((("start", 1), ("start", 2), ("start", 3), ("end", 3)), 3, "attempt 3 of 2"),
    ],
)
def test_broken(events: tuple[tuple[str, int], ...], got: int, says: str) -> None:
    (found,) = violations(history(*events), {"w": [got]}, most_attempts=2)
    assert says in found


def test_two_jobs() -> None:
    """One call is one job, however often it was enqueued."""
    lines = history(("start", 1), ("end", 1), ("start", 1), ("end", 1))
    lines[2]["job"] = "k"
    assert "several jobs" in violations(lines, {"w": [1]})[0]
