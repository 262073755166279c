"""Notes about numbers, for the reader of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from loadtest.results.comparison import Comparison

_WRITES: Final[Mapping[str, str]] = {
    "dev": "Of the whole PostgreSQL server. Temporal's dev server keeps its data in memory.",
    "postgres": "Of the queue's PostgreSQL server, without Temporal's own database.",
    "deployed": (
        "Of the queue's whole PostgreSQL server, without Temporal's own database unless it is on that server too."
    ),
}
_BOTH_WRITES: Final = "Of two PostgreSQL servers: the queue's (postgres) and Temporal's own (temporal-postgres)."
_ANY_WRITES: Final = "Of the queue's whole PostgreSQL server."
_SERVERS: Final = frozenset({"temporal", "postgres"})
_NO_SERVERS: Final = "Of the load test's own processes only, because it did not start the servers."
_CLOCKS: Final = (
    "Times from enqueue on have no ratios, because the clocks of the arms start at different moments: an activity's "
    "when Temporal schedules it, a delegated job's when its row is inserted, after up to 100 ms of gathering "
    "(drop-in-worker: after Temporal has dispatched the activity)."
)
_INTENDED: Final = "Enqueue to result counts from the intended start of the workflow."


def postgres_note(comparison: Comparison) -> str:
    """Return a note about whose writes are counted."""
    runs = [run for runs in comparison.runs.values() for run in runs]
    if any(run.costs and run.costs.temporal_wal_bytes is not None for run in runs):
        return _BOTH_WRITES
    first = runs[0]
    return _WRITES.get(str(first.settings.get("temporal")), _ANY_WRITES)


def servers_note(comparison: Comparison) -> str | None:
    """Return a note that the costs of the servers are missing; None: they are not, or nothing was measured."""
    seen = {name for runs in comparison.runs.values() for run in runs if run.costs for name in run.costs.processes}
    return _NO_SERVERS if seen and not seen & _SERVERS else None


def clocks_note(comparison: Comparison) -> str | None:
    """Return a note about when the times of jobs begin; None: there are no such times."""
    runs = [run for runs in comparison.runs.values() for run in runs if run.workflows]
    if not any(run.job_start_ms or run.job_end_ms for run in runs):
        return None
    return f"{_CLOCKS} {_INTENDED}" if any(run.start_lag_ms for run in runs) else _CLOCKS


def table_notes(comparison: Comparison, differing: Sequence[str]) -> list[str]:
    """Return notes for a reader of the table.

    Args:
        comparison: what the table shows.
        differing: settings and versions that are not the same in all runs.
    """
    found = [f"Ratios are to {comparison.baseline}."]
    if not comparison.paired:
        found.append("The arms had unequal numbers of runs: between such arms a ratio is that of the medians.")
    if "floor" in comparison.runs:
        found.append(
            "The floor is a workflow that does nothing; its costs are divided by the jobs that the others had."
        )
    if differing:
        found.append(f"The runs differ in {', '.join(differing)}: see below.")
    return found
