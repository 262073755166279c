"""The figures: what each must reach, and how it follows from the measurements."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Results = Mapping[str, Any]
"""JSON objects of the experiments, by name."""


class Verdict(StrEnum):
    """What became of a line."""

    STRETCH = "reached, stretch too"
    REACHED = "reached"
    MISSED = "not reached"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure."""

    measure: str
    """What is measured."""
    value: Callable[[Results], float]
    """Computes it; raises KeyError where an experiment has not run."""
    must: float
    """What it must reach."""
    stretch: float
    """What it should reach."""
    at_least: bool = True
    """Whether more is better; False: less is."""
    unit: str = ""
    """Of the figure; a ratio has none."""

    def judge(self, results: Results) -> tuple[float | None, Verdict]:
        """Return the figure and whether it is good enough.

        Args:
            results: what the experiments said.
        """
        try:
            figure = self.value(results)
        except (KeyError, TypeError, ZeroDivisionError):
            return None, Verdict.NOT_RUN
        good = operator.ge if self.at_least else operator.le
        if good(figure, self.stretch):
            return figure, Verdict.STRETCH
        return figure, Verdict.REACHED if good(figure, self.must) else Verdict.MISSED


def _median(experiment: str, arm: str, *path: str) -> Callable[[Results], float]:
    def value(results: Results) -> float:
        found = results[experiment]["arms"][arm]
        for key in path:
            found = found[key]
        return float(found)

    return value


def _ratio(experiment: str, above: str, below: str, number: str) -> Callable[[Results], float]:
    def value(results: Results) -> float:
        return float(results[experiment]["ratios"][f"{above}/{below}"][number])

    return value


def _operations(experiment: str) -> Callable[[Results], float]:
    """Compare the arms' persistence operations; each arm did the same jobs."""
    path = ("costs", "persistence_operations")
    delegated, classic = _median(experiment, "delegated", *path), _median(experiment, "classic", *path)

    def value(results: Results) -> float:
        return delegated(results) / classic(results)

    return value


def _worst_drop_in(results: Results) -> float:
    """Compare the same workflow code: where activities are gathered, so are calls of `delegate`."""
    ratios = [_ratio(name, "drop-in", "delegated", "workflows_per_s")(results) for name in ("single", "sequence")]
    ratios += [_ratio(name, "drop-in", "gathered", "jobs_per_s")(results) for name in ("fanout-long", "ten-thousand")]
    ratios.append(_ratio("one", "delegated", "drop-in", "latency_p50")(results))
    return min(ratios)


def _wal_per_job(results: Results) -> float:
    run = results["signal"]["arms"]["signalled"]
    return float(run["costs"]["wal_bytes"] / (run["workflows"] * run["jobs"]) / 1024)


def _drain(results: Results) -> float:
    rate, before, after = (
        _median(name, "delegator", "jobs_per_s")(results) for name in ("backlog", "backlog-before", "backlog-after")
    )
    return 2 * rate / (before + after)


def _relay_megabytes(results: Results) -> float:
    return _median("backlog", "delegator", "relay_peak_rss_bytes")(results) / 1e6


def _peer(results: Results) -> float:
    return float(results["peers"]["bulk"]["ratios"]["delegator/pgqueuer"]["jobs_per_s"])


_SINGLE: Final = "single, 150 in flight: delegated / "
_STEADY: Final = "steady 100 jobs/s, enqueue to handler start: "
_OPERATIONS: Final = "Temporal persistence operations, delegated / classic: "

LINES: Sequence[Line] = (
    Line(_SINGLE + "classic, workflows/s", _ratio("single", "delegated", "classic", "workflows_per_s"), 1.2, 1.4),
    Line(_SINGLE + "floor, workflows/s", _ratio("single", "delegated", "floor", "workflows_per_s"), 0.85, 0.95),
    Line(_SINGLE + "classic, p50", _ratio("single", "delegated", "classic", "latency_p50"), 0.85, 0.7, False),
    Line(_SINGLE + "classic, p99", _ratio("single", "delegated", "classic", "latency_p99"), 0.95, 0.85, False),
    Line(
        "single, 1 in flight: delegated / classic, p50",
        _ratio("one", "delegated", "classic", "latency_p50"),
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
    Line("drop-in by interceptor / delegate, the worst scenario", _worst_drop_in, 0.9, 0.97),
    Line(
        "fanout 10 x 200: delegated / classic, jobs/s",
        _ratio("fanout", "delegated", "classic", "jobs_per_s"),
        18,
        25,
    ),
    Line(
        "one workflow, 10,000 jobs", _median("ten-thousand", "delegated", "jobs_per_s"), 15_000, 20_000, unit="jobs/s"
    ),
    Line(
        "one workflow, 10,000 jobs: history",
        _median("ten-thousand", "delegated", "history_events", "max"),
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
    Line(_STEADY + "p50", _median("steady", "delegator", "job_start_ms", "p50"), 5, 3, False, "ms"),
    Line(_STEADY + "p99", _median("steady", "delegator", "job_start_ms", "p99"), 20, 10, False, "ms"),
    Line(_OPERATIONS + "single", _operations("single"), 0.7, 0.6, False),
    Line(_OPERATIONS + "fanout", _operations("fanout-long"), 0.03, 0.02, False),
    Line("backlog of 1,000,000: drain rate / that of 10,000", _drain, 0.9, 0.9),
    Line("backlog of 1,000,000: memory of the relay", _relay_megabytes, 400, 300, False, "MB"),
    Line("WAL per job, 100-byte payload, by signal", _wal_per_job, 1.3, 1.0, False, "KiB"),
    Line("idle worker", lambda results: float(results["idle"]["worker_percent"]), 1.0, 0.5, False, "% of a core"),
)
"""All of them, in the order in which they are shown."""
