"""The SQL statements of each arm, for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.report.text import number, size
from loadtest.results.comparison import Comparison
from loadtest.results.statement_tables import RANKED, StatementRow, statement_tables
from loadtest.results.statements import QUEUE, TEMPORAL

_SERVERS: Final = {TEMPORAL: "Temporal's PostgreSQL server", QUEUE: "the queue's PostgreSQL server"}
_TITLES: Final = {
    "calls": "Statements per job",
    "exec_ms": "Execution time of statements per job, ms",
    "wal_bytes": "Write-ahead log of statements per job",
}
_INCOMPLETE: Final = "Incomplete: PostgreSQL removed statements from its list (pg_stat_statements.max) in the runs of "

TABLES: Final[Mapping[str, str]] = {
    "executions": "the state of each workflow run; each of its changes updates the row",
    "current_executions": "which run of a workflow id is the current one",
    "history_node": "the history: a batch of events in each row",
    "history_tree": "the branches of each history (a reset makes another one)",
    "activity_info_maps": "the pending activities of each run",
    "timer_info_maps": "the pending timers of each run",
    "signal_info_maps": "the pending signals to other workflows of each run",
    "buffered_events": "events that wait for the end of a workflow task",
    "transfer_tasks": "work that a run left to do: hand a task to matching, close a run",
    "timer_tasks": "timeouts and timers that are due later",
    "visibility_tasks": "changes of the list of workflows that are still to be written",
    "executions_visibility": "the list of workflows, which searches read",
    "shards": "the owner of each part of the workflows; each write locks its row first (FOR SHARE)",
    "tasks": "tasks that found no waiting worker",
    "task_queues": "the state of each task queue",
    "custom_task_queue": "the jobs that are not finished",
    "custom_task_lease": "the live processes of the queue",
}
"""What a table is for, in one line."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number of one arm."""

    text: str
    """The number."""
    difference: str | None
    """What the arm has more than the first one; None: it is the first one, or it is not known."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row."""

    label: str
    """Verb and table, or what it is the sum of."""
    what: str | None
    """What the table is for; None: not known, or no table."""
    cells: Sequence[TableCell]
    """One for each arm."""
    is_sum: bool
    """Whether it is below the line."""


@dataclass(frozen=True, slots=True)
class Statements:
    """A table of statements."""

    title: str
    """Its heading."""
    warning: str | None
    """What is wrong with the numbers; None: nothing."""
    rows: Sequence[TableRow]
    """Its rows."""


def statements(comparison: Comparison) -> list[Statements]:
    """Return the tables of a comparison: by calls, time and write-ahead log, for each server; empty: not counted."""
    return [
        Statements(
            title=f"{_TITLES[count]}: {_SERVERS[table.server]}",
            warning=f"{_INCOMPLETE}{', '.join(table.incomplete)}." if table.incomplete else None,
            rows=[
                *(_row(row, count, is_sum=False) for row in table.rows),
                *(_row(row, count, is_sum=True) for row in table.sums),
            ],
        )
        for count in RANKED
        for table in statement_tables(comparison, count)
    ]


def _row(row: StatementRow, count: str, *, is_sum: bool) -> TableRow:
    write: Callable[[float], str] = size if count == "wal_bytes" else number
    cells = [
        TableCell(
            "-" if value is None else write(value),
            None if difference is None else _signed(difference, write),
        )
        for value, difference in zip(row.values, row.differences, strict=True)
    ]
    return TableRow(row.label, TABLES.get(row.table), cells, is_sum)


def _signed(difference: float, write: Callable[[float], str]) -> str:
    sign = "+" if difference > 0 else "\N{MINUS SIGN}" if difference < 0 else "\N{PLUS-MINUS SIGN}"
    return f"{sign}{write(abs(difference))}"
