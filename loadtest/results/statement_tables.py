"""Which statements each arm ran, side by side: the busiest by calls, time and write-ahead log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.results.comparison import Comparison, median_of
from loadtest.results.run_result import RunResult
from loadtest.results.statements import QUEUE, TEMPORAL, Group, ServerStatements

MOST_ROWS: Final = 15
"""Rows of a table, without the sums."""
RANKED: Final[Sequence[str]] = ("calls", "exec_ms", "wal_bytes")
"""The counts by which tables are made."""


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A row: one number for each arm."""

    label: str
    """Verb and table, or what the sum is of."""
    table: str
    """The table; empty: none."""
    values: Sequence[float | None]
    """Of a job, or of a workflow where workflows have no jobs; None: not counted."""
    differences: Sequence[float | None]
    """What each arm has more than the first one; None for the first one."""


@dataclass(frozen=True, slots=True)
class StatementTable:
    """The statements of one server, ranked by one count."""

    server: str
    """`queue` or `temporal`."""
    count: str
    """What is counted, one of `RANKED`."""
    arms: Sequence[str]
    """The columns."""
    rows: Sequence[StatementRow]
    """The busiest statements, the busiest first, without what idle servers run."""
    sums: Sequence[StatementRow]
    """All other statements, all statements, and what idle servers run in the same time, which is in no other row."""
    incomplete: Sequence[str]
    """Arms some of whose counts are missing, because PostgreSQL removed statements from its list."""


def has_statements(comparison: Comparison) -> bool:
    """Return whether the statements of at least one run were counted."""
    return any(run.costs and run.costs.statements for runs in comparison.runs.values() for run in runs)


def statement_tables(comparison: Comparison, count: str) -> list[StatementTable]:
    """Return a table for each server whose statements were counted. The numbers are medians of the rounds.

    Args:
        comparison: the arms.
        count: by what the statements are ranked, one of `RANKED`.
    """
    tables = [_table(comparison, server, count) for server in (TEMPORAL, QUEUE)]
    return [table for table in tables if table is not None]


def _table(comparison: Comparison, server: str, count: str) -> StatementTable | None:
    arms = {arm: [run for run in runs if _counted(run, server)] for arm, runs in comparison.runs.items()}
    if not any(arms.values()):
        return None
    shares: dict[str, dict[Group, float]] = {arm: _shares(runs, server, count) for arm, runs in arms.items()}
    busiest: dict[Group, float] = {}
    for found in shares.values():
        for group, share in found.items():
            busiest[group] = max(busiest.get(group, 0), share)
    shown = sorted((group for group in busiest if busiest[group] > 0), key=lambda group: (-busiest[group], group))
    shown = shown[:MOST_ROWS]

    def row(label: str, table: str, values: Sequence[float | None]) -> StatementRow:
        first = values[0]
        differences = [
            None if not place or first is None or value is None else value - first for place, value in enumerate(values)
        ]
        return StatementRow(label, table, values, differences)

    def of_arms(groups: Sequence[Group]) -> list[float | None]:
        return [sum(shares[arm].get(group, 0) for group in groups) if runs else None for arm, runs in arms.items()]

    others = [group for group in busiest if group not in shown]
    return StatementTable(
        server=server,
        count=count,
        arms=list(arms),
        rows=[row(" ".join(filter(None, group)), group[1], of_arms([group])) for group in shown],
        sums=[
            row("all others", "", of_arms(others)),
            row("all", "", of_arms(list(busiest))),
            row(
                "background, subtracted",
                "",
                [_per_job(runs, server, lambda counted: counted.background_total(count)) for runs in arms.values()],
            ),
        ],
        incomplete=[arm for arm, runs in arms.items() if any(_statements(run, server).incomplete for run in runs)],
    )


def _counted(run: RunResult, server: str) -> bool:
    return run.costs is not None and server in run.costs.statements and run.completed_jobs > 0


def _statements(run: RunResult, server: str) -> ServerStatements:
    assert run.costs is not None
    return run.costs.statements[server]


def _shares(runs: Sequence[RunResult], server: str, count: str) -> dict[Group, float]:
    """Return the median over the runs of what a job takes, by group. A group that a run did not need counts as 0."""
    found = [(_statements(run, server).net(count), run.completed_jobs) for run in runs]
    groups = dict.fromkeys(group for net, _ in found for group in net)
    return {group: median_of(net.get(group, 0) / jobs for net, jobs in found) or 0.0 for group in groups}


def _per_job(runs: Sequence[RunResult], server: str, value: Callable[[ServerStatements], float]) -> float | None:
    return median_of(value(_statements(run, server)) / run.completed_jobs for run in runs)
