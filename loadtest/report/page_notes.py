"""What a reader has to know of numbers that do not say it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadtest.comparison import Comparison

_WRITES: Final[Mapping[str, str]] = {
    "dev": "Of the whole PostgreSQL server; Temporal's dev server keeps what it has in memory.",
    "postgres": "Of the queue's PostgreSQL server; Temporal's own database is not in it.",
    "deployed": (
        "Of the queue's whole PostgreSQL server; Temporal's own database is not in it, unless it is on that server too."
    ),
}
_ANY_WRITES: Final = "Of the queue's whole PostgreSQL server."
_SERVERS: Final = frozenset({"temporal", "postgres"})
_NO_SERVERS: Final = "Of the load test's own processes alone: the servers, which it did not start, are not in it."
_CLOCKS: Final = (
    "No ratios from enqueue on, since the clocks of the arms start at different moments: an activity's when Temporal "
    "schedules it, a delegated job's when its row is inserted, after up to 100 ms of gathering (drop-in-worker: after "
    "Temporal has dispatched the activity)."
)
_INTENDED: Final = "Enqueue to result counts from the intended start of the workflow."


def postgres_note(comparison: Comparison) -> str:
    """Say whose writes are counted."""
    first = next(iter(comparison.runs.values()))[0]
    return _WRITES.get(str(first.settings.get("temporal")), _ANY_WRITES)


def servers_note(comparison: Comparison) -> str | None:
    """Say that what the servers took is missing; None: it is not, or nothing was measured."""
    seen = {name for runs in comparison.runs.values() for run in runs if run.costs for name in run.costs.processes}
    return _NO_SERVERS if seen and not seen & _SERVERS else None


def clocks_note(comparison: Comparison) -> str | None:
    """Say from when on the jobs of workflows are timed; None: there are no such times."""
    runs = [run for runs in comparison.runs.values() for run in runs if run.workflows]
    if not any(run.job_start_ms or run.job_end_ms for run in runs):
        return None
    return f"{_CLOCKS} {_INTENDED}" if any(run.start_lag_ms for run in runs) else _CLOCKS
