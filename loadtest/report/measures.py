"""The table of a comparison: medians with their spread, and ratios to the first arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.report.notes import clocks_note, postgres_note, servers_note
from loadtest.report.text import DASH, number, percent, size, times
from loadtest.results.comparison import Comparison
from loadtest.results.run_result import Latency, RunResult
from loadtest.results.statements import QUEUE, TEMPORAL

Value = Callable[[RunResult], float | None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of one arm."""

    text: str
    """The median."""
    spread: str | None = None
    """The lowest and the highest round; None: there is only one."""
    ratio: str | None = None
    """Ratio to the baseline; None: it is the baseline, or there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table."""

    group: str
    """Group of rows that it belongs to."""
    label: str
    """What is measured."""
    unit: str
    """Its unit."""
    value: Value
    """Finds it in a run."""
    written: Callable[[float | None], str] = number
    """Writes it."""
    compared: bool = True
    """Whether a ratio means something."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row with the numbers of every arm."""

    group: str | None
    """The group that begins here."""
    note: str | None
    """What to know about that group."""
    label: str
    """What is measured."""
    unit: str
    """Its unit."""
    cells: Sequence[Cell]
    """One for each arm."""


def counts_jobs(comparison: Comparison) -> bool:
    """Return whether throughput is shown in jobs: if workflows have several jobs, or there are no workflows."""
    return any(run.jobs > 1 for runs in comparison.runs.values() for run in runs)


def table(comparison: Comparison) -> list[Row]:
    """Return the rows that at least one arm has a number for."""
    rows: list[Row] = []
    group = None
    medians = comparison.arms
    for measure in _MEASURES:
        values = {arm: measure.value(median) for arm, median in medians.items()}
        if all(value is None for value in values.values()):
            continue
        cells = [
            Cell(
                text=measure.written(values[arm]),
                spread=_spread(measure, runs),
                ratio=_ratio(comparison, measure, arm),
            )
            for arm, runs in comparison.runs.items()
        ]
        begins = measure.group if measure.group != group else None
        note = _NOTES.get(begins) if begins else None
        rows.append(Row(begins, note(comparison) if note else None, measure.label, measure.unit, cells))
        group = measure.group
    return rows


def _spread(measure: Measure, runs: Sequence[RunResult]) -> str | None:
    values = [value for run in runs if (value := measure.value(run)) is not None]
    if len(values) < 2:
        return None
    least, most = measure.written(min(values)), measure.written(max(values))
    return None if least == most else f"{least}\N{EN DASH}{most}"


def _ratio(comparison: Comparison, measure: Measure, arm: str) -> str | None:
    if not measure.compared or arm == comparison.baseline:
        return None
    shown = times(comparison.ratio_of(measure.value, arm, comparison.baseline))
    return None if shown == DASH else shown


def _latency(which: str, part: str) -> Value:
    def value(run: RunResult) -> float | None:
        latency: Latency | None = getattr(run, which)
        return None if latency is None else float(getattr(latency, part))

    return value


def _cost(part: str) -> Value:
    def value(run: RunResult) -> float | None:
        costs = run.costs_per_job
        return None if costs is None else getattr(costs, part)

    return value


def _statements(server: str, *, per_workflow: bool) -> Value:
    def value(run: RunResult) -> float | None:
        costs = run.costs_per_workflow if per_workflow else run.costs_per_job
        return None if costs is None else costs.statements.get(server)

    return value


def _cpu(run: RunResult) -> float | None:
    costs = run.costs_per_job
    return sum(costs.cpu_ms.values()) if costs and costs.cpu_ms else None


def _operations_per_workflow(run: RunResult) -> float | None:
    costs = run.costs_per_workflow
    return costs.persistence_operations if costs else None


def _of_workflows(value: Value) -> Value:
    return lambda run: value(run) if run.workflows else None


def _of_queues(value: Value) -> Value:
    return lambda run: None if run.workflows else value(run)


def _memory(run: RunResult) -> float | None:
    peaks = [process.peak_rss_bytes for process in run.costs.processes.values()] if run.costs else []
    return sum(peaks) if peaks and all(peaks) else None


def _relay(run: RunResult) -> float | None:
    relay = run.costs.processes.get("relay") if run.costs else None
    return relay.peak_rss_bytes or None if relay else None


def _jobs_per_s(run: RunResult) -> float | None:
    """Return None if workflows per second are the same number."""
    return run.jobs_per_s or None if run.jobs > 1 else None


def _share(run: RunResult) -> float | None:
    whole = run.completed + run.failed
    return run.completed / whole if whole else None


_OUTCOME, _WORKFLOWS, _JOBS = "Outcome", "Workflows", "Jobs"
_TEMPORAL, _POSTGRES, _MACHINE = "Taken from Temporal", "Taken from PostgreSQL", "Taken from the machine"

_NOTES: Final[Mapping[str, Callable[[Comparison], str | None]]] = {
    _JOBS: clocks_note,
    _POSTGRES: postgres_note,
    _MACHINE: servers_note,
}

_MEASURES: Final = (
    Measure(_OUTCOME, "right answers", "", _share, percent, compared=False),
    Measure(_WORKFLOWS, "throughput", "workflows/s", lambda run: run.workflows_per_s or None),
    *(
        Measure(_WORKFLOWS, f"latency {part}", "ms", _latency("latency_ms", part))
        for part in ("p50", "p90", "p99", "max")
    ),
    Measure(_WORKFLOWS, "started late, p99", "ms", _latency("start_lag_ms", "p99"), compared=False),
    Measure(_JOBS, "throughput", "jobs/s", _jobs_per_s),
    *(
        Measure(_JOBS, f"intended enqueue to start {part}", "ms", _of_queues(_latency("job_start_ms", part)))
        for part in ("p50", "p99")
    ),
    *(
        Measure(_JOBS, f"{said} {part}", "ms", _of_workflows(_latency(which, part)), compared=False)
        for which, said in (("job_start_ms", "enqueue to start"), ("job_end_ms", "enqueue to result"))
        for part in ("p50", "p99")
    ),
    Measure(_JOBS, "completed inline", "", lambda run: run.inline_share, percent, compared=False),
    Measure(_TEMPORAL, "persistence operations", "per job", _cost("persistence_operations")),
    Measure(_TEMPORAL, "persistence operations", "per workflow", _operations_per_workflow),
    Measure(
        _TEMPORAL,
        "history events",
        "per workflow",
        lambda run: run.history_events.avg if run.history_events else None,
    ),
    Measure(_POSTGRES, "write-ahead log", "per job", _cost("wal_bytes"), size),
    Measure(_POSTGRES, "commits", "per job", _cost("commits")),
    Measure(_POSTGRES, "dead tuples", "per job", _cost("dead_tuples")),
    Measure(_POSTGRES, "write-ahead log, Temporal's server", "per job", _cost("temporal_wal_bytes"), size),
    Measure(_POSTGRES, "commits, Temporal's server", "per job", _cost("temporal_commits")),
    Measure(_POSTGRES, "dead tuples, Temporal's server", "per job", _cost("temporal_dead_tuples")),
    *(
        Measure(_POSTGRES, f"statements, {said}", unit, _statements(server, per_workflow=unit == "per workflow"))
        for server, said in ((TEMPORAL, "Temporal's server"), (QUEUE, "the queue's server"))
        for unit in ("per job", "per workflow")
    ),
    Measure(_MACHINE, "processor time", "ms per job", _cpu),
    Measure(_MACHINE, "relay's peak memory", "", _relay, size),
    Measure(_MACHINE, "all peaks of memory", "", _memory, size),
)
