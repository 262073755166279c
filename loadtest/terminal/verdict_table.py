"""Tables for a terminal: the figures of the bench."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from loadtest.bench.figures import Figure, Line, Results, Verdict

_STYLES = {Verdict.STRETCH: "green", Verdict.REACHED: "green", Verdict.MISSED: "red", Verdict.NOT_RUN: "dim"}


def bench_table(lines: Sequence[Line], results: Results) -> Table:
    """Show each figure beside what it must reach.

    Args:
        lines: the figures.
        results: the numbers of the experiments.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), title_justify="left", caption_justify="left")
    table.add_column("measure")
    for column in ("figure", "rounds", "must", "stretch"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for line in lines:
        figure, verdict = line.judge(results)
        sign = "≥" if line.at_least else "≤"
        shown = "-" if figure is None else f"{number(figure.median)} {line.unit}".rstrip()
        style = _STYLES[verdict]
        table.add_row(
            line.measure,
            shown,
            rounds(figure),
            f"{sign} {number(line.must)}",
            f"{sign} {number(line.stretch)}",
            f"[{style}]{verdict}[/{style}]",
        )
    return table


def rounds(figure: Figure | None) -> str:
    """Return the lowest and the highest round of a figure; empty if they are the same."""
    if figure is None or figure.least == figure.most:
        return ""
    return f"{number(figure.least)}..{number(figure.most)}"


def number(value: float) -> str:
    """Write a number with three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
