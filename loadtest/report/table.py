"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from loadtest.measure import Comparison, RunResult

_NUMBERS = ("wf/s", "jobs/s", "p50 ms", "p99 ms", "events")


def run_table(result: RunResult) -> Table:
    """Show one run."""
    table = Table(title=_load(result), title_justify="left")
    table.add_column("arm")
    for column in ("ok", *_NUMBERS, "seconds"):
        table.add_column(column, justify="right")
    table.add_row(result.arm, _share(result), *_cells(result), f"{result.duration_s:.1f}")
    return table


def comparison_table(comparisons: Sequence[Comparison], baseline: str, *, title: str | None = None) -> Table:
    """Show arms side by side, with each one's ratios to the baseline.

    Args:
        comparisons: one or more scenarios.
        baseline: the arm that the others are divided by.
        title: what the table is about.
    """
    rounds = max(comparison.rounds for comparison in comparisons)
    caption = f"The last two columns are wf/s and p50 divided by those of {baseline}" + (
        f"; medians of {rounds} rounds" if rounds > 1 else ""
    )
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("scenario")
    table.add_column("arm")
    for column in ("ok", *_NUMBERS, f"wf/s / {baseline}", f"p50 / {baseline}"):
        table.add_column(column, justify="right")
    for comparison in comparisons:
        for number, (name, result) in enumerate(comparison.arms.items()):
            ratio = comparison.ratio(name, baseline)
            table.add_row(
                _load(result) if number == 0 else "",
                name,
                _share(result),
                *_cells(result),
                *(("1", "1") if name == baseline else (_times(ratio.workflows_per_s), _times(ratio.latency_p50))),
            )
        table.add_section()
    return table


def _load(result: RunResult) -> str:
    shape = f"{result.workflows:,}" if result.jobs == 1 else f"{result.workflows:,} x {result.jobs:,}"
    return f"{result.scenario} {shape}, {result.concurrency} in flight"


def _share(result: RunResult) -> str:
    if not result.failed:
        return "100 %"
    return f"[red]{100 * result.completed / result.workflows:.1f} %[/red]"


def _cells(result: RunResult) -> tuple[str, ...]:
    latency, events = result.latency_ms, result.history_events
    return (
        f"{result.workflows_per_s:,.1f}",
        f"{result.jobs_per_s:,.0f}" if result.jobs_per_s else "-",
        f"{latency.p50:,.0f}" if latency else "-",
        f"{latency.p99:,.0f}" if latency else "-",
        f"{events.avg:,.0f}" if events else "-",
    )


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
