"""Table for a terminal: the SQL statements of one workflow, by transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.markup import escape
from rich.table import Table

from loadtest.results.statements import QUEUE, TEMPORAL
from loadtest.results.trace import ServerTrace, Trace

_SERVERS: Final = {TEMPORAL: "Temporal's PostgreSQL server", QUEUE: "The queue's PostgreSQL server"}


def trace_tables(trace: Trace) -> Sequence[Table]:
    """Show each server's transactions, a section each."""
    return [_table(_SERVERS[name], server) for name, server in trace.servers.items()]


def _table(title: str, server: ServerTrace) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left", caption_justify="left")
    total = sum(transaction.ms for transaction in server.transactions)
    table.title = (
        f"{title}: {server.statements} statements in {len(server.transactions)} transactions, "
        f"{total:.1f} ms of execution"
    )
    table.add_column("from start\nms", justify="right")
    table.add_column("took\nms", justify="right")
    table.add_column("statement", overflow="fold")
    for transaction in server.transactions:
        for place, statement in enumerate(transaction.statements):
            begin = "" if place else f"{transaction.at_ms:.0f}"
            table.add_row(begin, f"{statement.ms:.2f}", escape(statement.query))
        table.add_section()
    table.caption = (
        f"Left out: {server.background} transactions that idle servers and workers run too. "
        "Times are from the server's log; a statement's time is that of its execution alone."
    )
    return table
