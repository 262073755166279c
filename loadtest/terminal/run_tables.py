"""Tables for a terminal: runs and comparisons of arms."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich import box
from rich.table import Table

from loadtest.results.comparison import Comparison
from loadtest.results.run_result import RunResult

# With headers of two lines and one space between columns a comparison fits into 80 columns.
_NUMBERS = ("wf/s", "jobs/s", "p50\nms", "p99\nms", "history\nevents")


def run_table(result: RunResult) -> Table:
    """Show one run."""
    table = _table("scenario", "arm", numbers=("ok", *_NUMBERS, "seconds"))
    table.caption = _jobs(result)
    table.add_row(_load(result), result.arm, _share(result), *_cells(result), f"{result.duration_s:.1f}")
    return table


def comparison_table(comparisons: Sequence[Comparison], baseline: str, *, title: str | None = None) -> Table:
    """Show arms side by side, with the spread of each and its ratios to the baseline.

    Args:
        comparisons: one or more scenarios.
        baseline: the arm that the others are divided by.
        title: what the table is about.
    """
    rounds = max(comparison.rounds for comparison in comparisons)
    spread = ("wf/s\n± %",) if rounds > 1 else ()
    table = _table("scenario", "arm", numbers=("ok", *_NUMBERS, *spread, "wf/s\nratio", "p50\nratio"))
    table.title = title
    table.caption = f"Ratios are to {baseline}" + (
        f"; medians of {rounds} rounds (a ratio is the median of the ratios of the rounds), ± half their spread."
        if rounds > 1
        else "."
    )
    for comparison in comparisons:
        lines = [
            (
                *(name, _share(result), *_cells(result)),
                *([_spread(comparison.runs[name])] if spread else []),
                *_ratios(comparison, name, baseline),
            )
            for name, result in comparison.arms.items()
        ]
        label = _load(next(iter(comparison.arms.values())))
        table.add_row(label, *("\n".join(column) for column in zip(*lines, strict=True)))
        table.add_section()
    return table


def _table(*texts: str, numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left", caption_justify="left")
    for column in texts:
        table.add_column(column, no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _load(result: RunResult) -> str:
    jobs = f"{result.jobs:,} job{'s' if result.jobs > 1 else ''}"
    settings = result.settings
    if result.concurrency is not None:
        how = f"{result.concurrency:,} in flight"
    elif "rate" in settings:
        how = f"{settings['rate']:,g} jobs/s"
    else:
        how = f"{settings['bursts']:,} bursts" if "bursts" in settings else "all at once"
    return f"{result.scenario}\n{result.workflows:,} x {jobs}\n{how}"


def _ratios(comparison: Comparison, name: str, baseline: str) -> tuple[str, str]:
    ratio = comparison.ratio(name, baseline)
    return _times(ratio.workflows_per_s), _times(ratio.latency_p50)


def _spread(runs: Sequence[RunResult]) -> str:
    speeds = [run.workflows_per_s for run in runs]
    middle = statistics.median(speeds)
    return f"{(max(speeds) - min(speeds)) / 2 / middle:.0%}".removesuffix("%") if middle else "-"


def _jobs(result: RunResult) -> str | None:
    """Return a line about the jobs; None: nothing was measured."""
    parts = [
        f"{words} {latency.p50:,.1f} / {latency.p99:,.1f} ms"
        for words, latency in (
            ("enqueue to start", result.job_start_ms),
            ("to result", result.job_end_ms),
            ("late by", result.start_lag_ms),
        )
        if latency is not None
    ]
    if not parts:
        return None
    inline = f"; {result.inline_share:.0%} inline" if result.inline_share is not None else ""
    return f"Jobs (p50 / p99): {', '.join(parts)}{inline}."


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
