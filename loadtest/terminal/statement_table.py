"""Table for a terminal: the SQL statements of each arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich import box
from rich.table import Table

from loadtest.results.comparison import Comparison
from loadtest.results.statement_tables import StatementRow, statement_tables
from loadtest.results.statements import QUEUE, TEMPORAL

_SERVERS: Final = {TEMPORAL: "Temporal's PostgreSQL server", QUEUE: "The queue's PostgreSQL server"}
_SUMS: Final = {"calls": "all", "exec_ms": "ms of execution", "wal_bytes": "bytes of write-ahead log"}


def statement_table(comparison: Comparison) -> Sequence[Table]:
    """Show the most frequent statements of each server, and the sums of time and write-ahead log.

    Args:
        comparison: the arms, at least one run of which counted statements.
    """
    ranked = {count: {table.server: table for table in statement_tables(comparison, count)} for count in _SUMS}
    found = []
    for server, by_calls in ranked["calls"].items():
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left", caption_justify="left")
        table.title = f"{_SERVERS[server]}: statements per job"
        table.add_column("statement")
        for place, arm in enumerate(by_calls.arms):
            table.add_column(arm, justify="right", no_wrap=True)
            if place:
                table.add_column("difference", justify="right", no_wrap=True)
        others, _, background = by_calls.sums
        for row in (*by_calls.rows, others):
            table.add_row(row.label, *_cells(row))
        table.add_section()
        for count, label in _SUMS.items():
            table.add_row(label, *_cells(ranked[count][server].sums[1], _written(count)))
        table.add_row(background.label, *_cells(background))
        if by_calls.incomplete:
            table.caption = (
                f"[red]incomplete: PostgreSQL removed statements from its list while {', '.join(by_calls.incomplete)} "
                "ran (pg_stat_statements.max)[/red]"
            )
        found.append(table)
    return found


def _cells(row: StatementRow, written: Callable[[float], str] | None = None) -> list[str]:
    written = written or _count
    cells = []
    for place, (value, difference) in enumerate(zip(row.values, row.differences, strict=True)):
        cells.append("-" if value is None else written(value))
        if place:
            cells.append("-" if difference is None else f"{'+' if difference > 0 else ''}{written(difference)}")
    return cells


def _written(count: str) -> Callable[[float], str]:
    return _bytes if count == "wal_bytes" else _count


def _bytes(value: float) -> str:
    return f"{value:,.0f}"


def _count(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.2g}"
