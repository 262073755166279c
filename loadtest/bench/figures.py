"""The figures: what each must reach, and how it is computed from the experiments."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Results = Mapping[str, Any]
"""JSON objects of the experiments, by name."""


class Verdict(StrEnum):
    """Whether a line reached what it must."""

    STRETCH = "reached, stretch too"
    REACHED = "reached"
    MISSED = "not reached"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Figure:
    """The value of a line."""

    median: float
    """Median of the rounds. The verdict is about this one."""
    least: float
    """The lowest of the rounds."""
    most: float
    """The highest of the rounds."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure."""

    measure: str
    """What is measured."""
    values: Callable[[Results], Sequence[float]]
    """Computes it for each round; raises KeyError if an experiment has not run."""
    must: float
    """What it must reach."""
    stretch: float
    """What it should reach."""
    at_least: bool = True
    """Whether a higher value is better; False: a lower one is."""
    unit: str = ""
    """Unit of the figure; a ratio has none."""

    def judge(self, results: Results) -> tuple[Figure | None, Verdict]:
        """Return the figure and the verdict.

        Args:
            results: the numbers of the experiments.
        """
        try:
            values = self.values(results)
            figure = Figure(statistics.median(values), min(values), max(values))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None, Verdict.NOT_RUN
        good = operator.ge if self.at_least else operator.le
        if good(figure.median, self.stretch):
            return figure, Verdict.STRETCH
        return figure, Verdict.REACHED if good(figure.median, self.must) else Verdict.MISSED


def _each(experiment: str, arm: str, *path: str) -> Callable[[Results], list[float]]:
    """Return a function that finds a number in each of an arm's runs."""

    def values(results: Results) -> list[float]:
        return _found(results[experiment], arm, path)

    return values


def _ratio(experiment: str, above: str, below: str, *path: str) -> Callable[[Results], list[float]]:
    """Return a function that divides a number of two arms, round by round: runs of a round are close in time."""

    def values(results: Results) -> list[float]:
        numbers = results[experiment]
        return list(map(operator.truediv, _found(numbers, above, path), _found(numbers, below, path)))

    return values


def _found(numbers: Any, arm: str, path: Sequence[str]) -> list[float]:
    found = [run for run in numbers["runs"] if arm in (run.get("arm"), run.get("contender"))]
    for key in path:
        found = [value[key] for value in found]
    return found


def _worst_drop_in(results: Results) -> list[float]:
    """Compare the same workflow code: with gathered activities it is compared with gathered calls of `delegate`."""
    ratios = [_ratio(name, "drop-in", "delegated", "workflows_per_s")(results) for name in ("single", "sequence")]
    ratios += [_ratio(name, "drop-in", "gathered", "jobs_per_s")(results) for name in ("fanout-long", "ten-thousand")]
    ratios.append(_ratio("one", "delegated", "drop-in", *_P50)(results))
    return min(ratios, key=statistics.median)


def _wal_per_job(results: Results) -> list[float]:
    runs = results["signal"]["runs"]
    return [run["costs"]["wal_bytes"] / (run["workflows"] * run["jobs"]) / 1024 for run in runs]


def _drain(results: Results) -> list[float]:
    rate, before, after = (
        statistics.median(_found(results[name], "delegator", ["jobs_per_s"]))
        for name in ("backlog", "backlog-before", "backlog-after")
    )
    return [2 * rate / (before + after)]


def _relay_megabytes(results: Results) -> list[float]:
    return [peak / 1e6 for peak in _found(results["backlog"], "delegator", ["relay_peak_rss_bytes"])]


def _peer(results: Results) -> list[float]:
    return _ratio("bulk", "delegator", "pgqueuer", "jobs_per_s")(results["peers"])


_P50: Final = ("latency_ms", "p50")
_P99: Final = ("latency_ms", "p99")
_OPERATIONS_OF: Final = ("costs", "persistence_operations")
_SINGLE: Final = "single, 150 in flight: delegated / "
_STEADY: Final = "bulk path, steady 100 jobs/s, enqueue to handler start: "
_OPERATIONS: Final = "Temporal persistence operations, delegated / classic: "

LINES: Sequence[Line] = (
    Line(_SINGLE + "classic, workflows/s", _ratio("single", "delegated", "classic", "workflows_per_s"), 1.2, 1.4),
    Line(_SINGLE + "floor, workflows/s", _ratio("single", "delegated", "floor", "workflows_per_s"), 0.85, 0.95),
    Line(_SINGLE + "classic, p50", _ratio("single", "delegated", "classic", *_P50), 0.85, 0.7, False),
    Line(_SINGLE + "classic, p99", _ratio("single", "delegated", "classic", *_P99), 0.95, 0.85, False),
    Line(
        "single, 1 in flight: delegated / classic, p50",
        _ratio("one", "delegated", "classic", *_P50),
        0.6,
        0.5,
        False,
    ),
    Line(
        "sequence of 5, 50 in flight: delegated / classic, workflows/s",
        _ratio("sequence", "delegated", "classic", "workflows_per_s"),
        1.6,
        2.5,
    ),
    Line("drop-in by interceptor / delegate: the worst of single, sequence, fanout", _worst_drop_in, 0.9, 0.97),
    Line(
        "fanout 10 x 200: delegated / classic, jobs/s",
        _ratio("fanout", "delegated", "classic", "jobs_per_s"),
        18,
        25,
    ),
    Line("one workflow, 10,000 jobs", _each("ten-thousand", "delegated", "jobs_per_s"), 15_000, 20_000, unit="jobs/s"),
    Line(
        "one workflow, 10,000 jobs: history",
        _each("ten-thousand", "delegated", "history_events", "max"),
        100,
        100,
        False,
        "events",
    ),
    Line(
        "Temporal on PostgreSQL, single: delegated / classic, workflows/s",
        _ratio("single-postgres", "delegated", "classic", "workflows_per_s"),
        1.2,
        1.4,
    ),
    Line(
        "Temporal on PostgreSQL, fanout: delegated / classic, jobs/s",
        _ratio("fanout-postgres", "delegated", "classic", "jobs_per_s"),
        20,
        30,
    ),
    Line("bulk path / bare psycopg loop, jobs/s", _ratio("bulk", "delegator", "bare", "jobs_per_s"), 0.6, 0.8),
    Line("bulk path / pgqueuer, jobs/s", _peer, 1.0, 1.25),
    Line(_STEADY + "p50", _each("steady", "delegator", "job_start_ms", "p50"), 5, 3, False, "ms"),
    Line(_STEADY + "p99", _each("steady", "delegator", "job_start_ms", "p99"), 20, 10, False, "ms"),
    Line(_OPERATIONS + "single", _ratio("single", "delegated", "classic", *_OPERATIONS_OF), 0.7, 0.6, False),
    Line(_OPERATIONS + "fanout 10 x 200", _ratio("fanout", "delegated", "classic", *_OPERATIONS_OF), 0.03, 0.02, False),
    Line(
        _OPERATIONS + "fanout 40 x 200",
        _ratio("fanout-long", "delegated", "classic", *_OPERATIONS_OF),
        0.03,
        0.02,
        False,
    ),
    Line("backlog of 1,000,000: drain rate / that of 10,000", _drain, 0.9, 0.9),
    Line("backlog of 1,000,000: memory of the relay", _relay_megabytes, 400, 300, False, "MB"),
    Line("WAL per job, 100-byte payload, by signal", _wal_per_job, 1.3, 1.0, False, "KiB"),
    Line("idle worker", lambda results: [results["idle"]["worker_percent"]], 1.0, 0.5, False, "% of a core"),
)
"""All figures, in the order in which they are shown."""
