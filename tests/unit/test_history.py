"""The checker of histories finds each kind of broken promise."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from tests.chaos.history import signalled_while_retried, violations


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


STARTED = ("WORKFLOW_TASK_STARTED", 1)
TIMED_OUT = ("WORKFLOW_TASK_TIMED_OUT", 4)
STARTED_AGAIN = ("WORKFLOW_TASK_STARTED", 5)
COMPLETED = ("WORKFLOW_TASK_COMPLETED", 7)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((STARTED, TIMED_OUT, STARTED_AGAIN, COMPLETED, ("WORKFLOW_EXECUTION_SIGNALED", 6)), True),
        ((STARTED, TIMED_OUT, STARTED_AGAIN, COMPLETED, ("WORKFLOW_EXECUTION_SIGNALED", 8)), False),
        ((STARTED, TIMED_OUT, ("WORKFLOW_EXECUTION_SIGNALED", 4), STARTED_AGAIN, COMPLETED), False),
        ((STARTED_AGAIN, COMPLETED, ("WORKFLOW_EXECUTION_SIGNALED", 6)), False),
        ((), False),
    ],
)
def test_signalled_while_retried(events: tuple[tuple[str, int], ...], found: bool) -> None:
    made = []
    for kind, seconds in events:
        made.append(HistoryEvent(event_type=EventType.Value(f"EVENT_TYPE_{kind}")))
        made[-1].event_time.FromSeconds(seconds)
    assert signalled_while_retried(made) is found
