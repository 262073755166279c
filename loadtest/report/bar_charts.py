"""Charts of bars: what a job costs of each resource, by component."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.report.colours import LIGHT, component_colours, ranked_colours
from loadtest.report.drawing import TINY, house_style, linear_axis, new_chart, svg_text
from loadtest.report.line_charts import WIDTH
from loadtest.report.measures import counts_jobs
from loadtest.report.notes import postgres_note, servers_note
from loadtest.report.text import number, shortened
from loadtest.results.comparison import Comparison, median_run
from loadtest.results.costs import UnitCosts
from loadtest.results.run_result import RunResult

_ROW: Final = 42.0  # points
_FOOT: Final = 48.0  # points
_BAR: Final = 0.36  # of a row
_LONGEST_NAME: Final = 32
_MOST_OPERATIONS: Final = 7
_OTHERS: Final = "all others"
_QUEUE, _TEMPORAL = "postgres", "temporal-postgres"
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Bar:
    """One arm's bar."""

    arm: str
    """Whose it is."""
    parts: Mapping[str, float]
    """Its parts, in order, by component."""

    @property
    def total(self) -> float:
        """The whole bar."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class BarChart:
    """A chart, its legend and its numbers."""

    title: str
    """Its heading."""
    note: str
    """How to read it."""
    unit: str
    """What the numbers are in."""
    svg: str
    """The drawing, an SVG element."""
    legend: Mapping[str, str]
    """Colour variable of each component; empty: the bars have no parts."""
    bars: Sequence[Bar]
    """The numbers."""


def cost_charts(comparison: Comparison, arms: Mapping[str, str], name: str) -> list[BarChart]:
    """Draw the costs that are known.

    Args:
        comparison: what to draw.
        arms: colour variable of each arm.
        name: unique within the page.
    """
    runs = {arm: median_run(found) for arm, found in comparison.runs.items()}
    costs = {arm: unit for arm, run in runs.items() if (unit := run.costs_per_job) is not None}
    components = component_colours(component for run in runs.values() if run.costs for component in run.costs.processes)
    # A component has the same place in every bar: that of its colour.
    order = sorted(components, key=components.__getitem__)
    operations = _operations(runs)
    servers = servers_note(comparison)

    def of_processes(note: str) -> str:
        return f"{note} {servers}" if servers else note

    def written(
        key: str,
        title: str,
        unit: str,
        value: Callable[[UnitCosts], float | None],
        temporals: Callable[[UnitCosts], float | None],
    ) -> BarChart | None:
        """Draw what PostgreSQL wrote: of the queue's server alone, or stacked with that of Temporal's own server."""
        sources = {_QUEUE: value, _TEMPORAL: temporals}
        both = any(temporals(unit_cost) is not None for unit_cost in costs.values())
        if not both:
            sources = {"": value}
        found = {arm: {part: of(unit_cost) for part, of in sources.items()} for arm, unit_cost in costs.items()}
        return bar_chart(
            # A part that was not measured is not 0, so its arm has no bar.
            [
                Bar(arm, known)
                for arm, parts in found.items()
                if len(known := {part: size for part, size in parts.items() if size is not None}) == len(sources)
            ],
            name=f"{name}-{key}",
            title=title,
            note=postgres_note(comparison),
            unit=unit,
            legend=component_colours(sources) if both else {},
            arms=arms,
        )

    charts = (
        bar_chart(
            [
                Bar(arm, {part: unit.cpu_ms[part] for part in order if part in unit.cpu_ms})
                for arm, unit in costs.items()
            ],
            name=f"{name}-cpu",
            title="Processor time per job",
            note=of_processes("By process; a process includes those that it started."),
            unit="ms per job",
            legend={part: components[part] for part in order},
            arms=arms,
        ),
        bar_chart(
            [Bar(arm, found) for arm, found in operations.items()],
            name=f"{name}-persistence",
            title="Temporal's persistence operations per job",
            note="Calls that Temporal makes to its own database, by operation, as its server counts them.",
            unit="operations per job",
            legend=ranked_colours(dict.fromkeys(part for found in operations.values() for part in found)),
            arms=arms,
        ),
        written(
            *("wal", "Write-ahead log per job", "bytes per job"),
            lambda unit: unit.wal_bytes,
            lambda unit: unit.temporal_wal_bytes,
        ),
        written(
            *("commits", "Commits per job", "commits per job"),
            lambda unit: unit.commits,
            lambda unit: unit.temporal_commits,
        ),
        written(
            *("dead", "Dead tuples per job", "dead tuples per job"),
            lambda unit: unit.dead_tuples,
            lambda unit: unit.temporal_dead_tuples,
        ),
        bar_chart(
            [
                Bar(
                    arm,
                    {
                        part: found[part].peak_rss_bytes / _MIB
                        for part in order
                        if part in found and found[part].peak_rss_bytes
                    },
                )
                for arm, run in runs.items()
                if run.costs and (found := run.costs.processes)
            ],
            name=f"{name}-memory",
            title="Peak memory",
            note=of_processes(
                "Of each process and those that it started, each at its own peak; memory that they share counts once."
            ),
            unit="MiB",
            legend={part: components[part] for part in order},
            arms=arms,
        ),
    )
    return [chart for chart in charts if chart is not None]


def throughput_bars(comparison: Comparison, arms: Mapping[str, str], name: str) -> BarChart | None:
    """Draw the throughput of whole runs, for runs without completions per second.

    Args:
        comparison: what to draw.
        arms: colour variable of each arm.
        name: unique within the page.
    """
    jobs = counts_jobs(comparison)
    runs = {arm: median_run(found) for arm, found in comparison.runs.items()}
    return bar_chart(
        [Bar(arm, {"": run.jobs_per_s if jobs else run.workflows_per_s}) for arm, run in runs.items()],
        name=f"{name}-throughput",
        title="Throughput",
        note="Higher is better.",
        unit="jobs/s" if jobs else "workflows/s",
        legend={},
        arms=arms,
    )


def bar_chart(
    bars: Sequence[Bar],
    *,
    name: str,
    title: str,
    note: str,
    unit: str,
    legend: Mapping[str, str],
    arms: Mapping[str, str],
) -> BarChart | None:
    """Draw a bar for each arm, with its name and total above it.

    Args:
        bars: what to draw.
        name: unique within the page.
        title: the chart's heading.
        note: how to read it.
        unit: what the numbers are in.
        legend: colour variable of each component; empty: each bar is one part, in its arm's colour.
        arms: colour variable of each arm.

    Returns:
        None if there is nothing to draw.
    """
    if not any(bar.total > TINY for bar in bars):
        return None
    legend = {part: kind for part, kind in legend.items() if any(part in bar.parts for bar in bars)}
    with house_style():
        axes = new_chart(WIDTH, _ROW * len(bars) + _FOOT, left=8, top=4, right=18, bottom=_FOOT - 4)
        axes.set_ylim(len(bars), 0)
        linear_axis(axes, "x")
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(bottom=False, labelleft=False)
        axes.set_xlabel(unit, loc="right")
        for row, bar in enumerate(bars):
            across = axes.get_yaxis_transform()
            arm, total = shortened(bar.arm, _LONGEST_NAME), number(bar.total)
            axes.text(0, row + 0.36, arm, fontsize=13, transform=across)
            axes.text(1, row + 0.36, total, fontsize=13, fontweight="bold", ha="right", transform=across)
            left = 0.0
            for component, value in bar.parts.items():
                colour = LIGHT[legend.get(component) or arms[bar.arm]]
                axes.barh(row + 0.66, value, _BAR, left, color=colour, edgecolor=LIGHT["paper"], linewidth=0.5)
                left += value
        axes.set_xlim(0, None)
        svg = svg_text(
            axes,
            name=name,
            title=title,
            description="; ".join(f"{bar.arm}: {number(bar.total)} {unit}" for bar in bars),
        )
    return BarChart(title, note, unit, svg, legend, bars)


def _operations(runs: Mapping[str, RunResult]) -> dict[str, dict[str, float]]:
    """Return operations per job of each arm: the most frequent ones of all arms by name, the others as one."""
    shares = {
        arm: {operation: calls / run.completed_jobs for operation, calls in run.costs.persistence_by_operation.items()}
        for arm, run in runs.items()
        if run.costs and run.costs.persistence_operations is not None and run.completed_jobs
    }
    frequent: Counter[str] = Counter()
    for found in shares.values():
        for operation, share in found.items():
            frequent[operation] += share  # type: ignore[assignment]  # a Counter counts in fractions as well
    shown = [operation for operation, _ in frequent.most_common(_MOST_OPERATIONS)]
    return {
        arm: {operation: found[operation] for operation in shown if operation in found}
        | {_OTHERS: sum(share for operation, share in found.items() if operation not in shown)}
        for arm, found in shares.items()
    }
