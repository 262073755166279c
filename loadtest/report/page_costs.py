"""Which bars a comparison has: what a job costs of each resource."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from loadtest.comparison import Comparison, median_run
from loadtest.costs.model import UnitCosts
from loadtest.measure import RunResult
from loadtest.report.page_bars import Bar, BarPlot, bar_plot
from loadtest.report.page_notes import postgres_note, servers_note
from loadtest.report.page_style import component_classes, ranked_classes
from loadtest.report.page_table import counts_jobs

_MOST_OPERATIONS: Final = 7
_OTHERS: Final = "all others"
_MIB: Final = 1 << 20


def cost_plots(comparison: Comparison, arms: Mapping[str, str], name: str) -> list[BarPlot]:
    """Draw what is known of the costs.

    Args:
        comparison: what is drawn.
        arms: CSS class of each arm.
        name: of the drawings, unique within the page.
    """
    runs = {arm: median_run(found) for arm, found in comparison.runs.items()}
    costs = {arm: unit for arm, run in runs.items() if (unit := run.costs_per_job) is not None}
    components = component_classes(component for run in runs.values() if run.costs for component in run.costs.processes)
    # Each component has its place in every stack, known by its colour.
    order = sorted(components, key=components.__getitem__)
    operations = _operations(runs)
    servers = servers_note(comparison)

    def of_processes(note: str) -> str:
        return f"{note} {servers}" if servers else note

    def plain(key: str, title: str, unit: str, value: Callable[[UnitCosts], float | None]) -> BarPlot | None:
        known = {arm: found for arm, unit_cost in costs.items() if (found := value(unit_cost)) is not None}
        return bar_plot(
            [Bar(arm, {"": found}) for arm, found in known.items()],
            name=f"{name}-{key}",
            title=title,
            note=postgres_note(comparison),
            unit=unit,
            legend={},
            arms=arms,
        )

    plots = (
        bar_plot(
            [
                Bar(arm, {part: unit.cpu_ms[part] for part in order if part in unit.cpu_ms})
                for arm, unit in costs.items()
            ],
            name=f"{name}-cpu",
            title="Processor time per job",
            note=of_processes("By process, with those that it started."),
            unit="ms per job",
            legend={part: components[part] for part in order},
            arms=arms,
        ),
        bar_plot(
            [Bar(arm, found) for arm, found in operations.items()],
            name=f"{name}-persistence",
            title="Temporal's persistence operations per job",
            note="Calls of its own database, by operation, as the server counts them.",
            unit="operations per job",
            legend=ranked_classes(dict.fromkeys(part for found in operations.values() for part in found)),
            arms=arms,
        ),
        plain("wal", "Write-ahead log per job", "bytes per job", lambda unit: unit.wal_bytes),
        plain("commits", "Commits per job", "commits per job", lambda unit: unit.commits),
        plain("dead", "NewDeadLetter tuples per job", "dead tuples per job", lambda unit: unit.dead_tuples),
        bar_plot(
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
                "Of each process with those that it started, each at its own peak; what they share counts once."
            ),
            unit="MiB",
            legend={part: components[part] for part in order},
            arms=arms,
        ),
    )
    return [plot for plot in plots if plot is not None]


def throughput_bars(comparison: Comparison, arms: Mapping[str, str], name: str) -> BarPlot | None:
    """Draw throughput on the whole, for runs that were not watched second by second.

    Args:
        comparison: what is drawn.
        arms: CSS class of each arm.
        name: of the drawing, unique within the page.
    """
    jobs = counts_jobs(comparison)
    runs = {arm: median_run(found) for arm, found in comparison.runs.items()}
    return bar_plot(
        [Bar(arm, {"": run.jobs_per_s if jobs else run.workflows_per_s}) for arm, run in runs.items()],
        name=f"{name}-throughput",
        title="Throughput",
        note="Higher is better.",
        unit="jobs/s" if jobs else "workflows/s",
        legend={},
        arms=arms,
    )


def _operations(runs: Mapping[str, RunResult]) -> dict[str, dict[str, float]]:
    """Return operations per job of each arm: the most frequent ones of all arms by name, the others in one."""
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
