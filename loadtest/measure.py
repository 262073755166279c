"""From outcomes to the numbers of a run, and from runs to medians and ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Latency:
    """Times from start to result of the workflows of a run, in milliseconds."""

    p50: float
    """Median."""
    p90: float
    """90 % were at most this."""
    p95: float
    """95 % were at most this."""
    p99: float
    """99 % were at most this."""
    avg: float
    """Mean."""
    max: float
    """The slowest."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency | None:
        """Summarise; None when there is nothing to summarise."""
        if not seconds:
            return None
        ordered = sorted(value * 1000 for value in seconds)
        return cls(
            p50=percentile(ordered, 50),
            p90=percentile(ordered, 90),
            p95=percentile(ordered, 95),
            p99=percentile(ordered, 99),
            avg=statistics.fmean(ordered),
            max=ordered[-1],
        )


@dataclass(frozen=True, slots=True)
class HistoryEvents:
    """Events in the histories of a sample of completed workflows."""

    avg: float
    """Mean."""
    max: int
    """The longest."""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> HistoryEvents | None:
        """Summarise; None when there is nothing to summarise."""
        return cls(avg=statistics.fmean(lengths), max=max(lengths)) if lengths else None


@dataclass(frozen=True, slots=True)
class RunResult:
    """The numbers of one run; the field names are the JSON keys, stable."""

    arm: str
    """Which way the work was done."""
    scenario: str
    """What a workflow did."""
    workflows: int
    """Workflows asked for."""
    jobs: int
    """Jobs of a workflow (of the floor: what the others had)."""
    concurrency: int
    """Workflows in flight."""
    completed: int
    """Workflows that gave the right answer, each of their jobs run once."""
    failed: int
    """The others."""
    duration_s: float
    """From the first start to the last result."""
    workflows_per_s: float
    """Completed workflows in a second."""
    jobs_per_s: float
    """Jobs of completed workflows in a second; 0 for the floor."""
    latency_ms: Latency | None
    """Start to result, completed workflows; None when none completed."""
    history_events: HistoryEvents | None
    """Length of histories; None for an arm without."""

    def to_json(self) -> dict[str, Any]:
        """Return the run as a JSON object."""
        return _rounded(asdict(self))


@dataclass(frozen=True, slots=True)
class Ratio:
    """One arm's numbers divided by another's; None where the divisor is zero or missing."""

    workflows_per_s: float | None
    """Above 1: more throughput."""
    jobs_per_s: float | None
    """Above 1: more throughput."""
    latency_p50: float | None
    """Below 1: faster."""
    latency_p99: float | None
    """Below 1: faster."""

    @classmethod
    def of(cls, numerator: RunResult, denominator: RunResult) -> Ratio:
        """Divide."""
        above, below = numerator.latency_ms, denominator.latency_ms
        return cls(
            workflows_per_s=_divide(numerator.workflows_per_s, denominator.workflows_per_s),
            jobs_per_s=_divide(numerator.jobs_per_s, denominator.jobs_per_s),
            latency_p50=_divide(above.p50, below.p50) if above and below else None,
            latency_p99=_divide(above.p99, below.p99) if above and below else None,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several arms on the same load; the field names are the JSON keys, stable."""

    scenario: str
    """What a workflow did."""
    rounds: int
    """How many runs each arm had."""
    arms: dict[str, RunResult]
    """Medians over the rounds; of `completed` and `failed` the worst round."""

    @property
    def failed(self) -> int:
        """Failed workflows of the worst rounds."""
        return sum(result.failed for result in self.arms.values())

    def ratio(self, numerator: str, denominator: str) -> Ratio:
        """Divide one arm's medians by another's."""
        return Ratio.of(self.arms[numerator], self.arms[denominator])

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object, with the ratios of all ordered pairs of arms."""
        return {
            "scenario": self.scenario,
            "rounds": self.rounds,
            "arms": {name: result.to_json() for name, result in self.arms.items()},
            "ratios": {f"{a}/{b}": _rounded(asdict(self.ratio(a, b))) for a in self.arms for b in self.arms if a != b},
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of the values do not exceed (nearest rank).

    Args:
        ordered: the values, ascending; at least one.
        percent: above 0, at most 100.
    """
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def median_run(runs: Sequence[RunResult]) -> RunResult:
    """Return the medians of one arm's runs.

    Args:
        runs: at least one; the same load each.
    """
    first = runs[0]
    latencies = [run.latency_ms for run in runs if run.latency_ms]
    histories = [run.history_events for run in runs if run.history_events]
    return RunResult(
        arm=first.arm,
        scenario=first.scenario,
        workflows=first.workflows,
        jobs=first.jobs,
        concurrency=first.concurrency,
        completed=min(run.completed for run in runs),
        failed=max(run.failed for run in runs),
        duration_s=statistics.median(run.duration_s for run in runs),
        workflows_per_s=statistics.median(run.workflows_per_s for run in runs),
        jobs_per_s=statistics.median(run.jobs_per_s for run in runs),
        latency_ms=Latency(
            p50=statistics.median(latency.p50 for latency in latencies),
            p90=statistics.median(latency.p90 for latency in latencies),
            p95=statistics.median(latency.p95 for latency in latencies),
            p99=statistics.median(latency.p99 for latency in latencies),
            avg=statistics.median(latency.avg for latency in latencies),
            max=statistics.median(latency.max for latency in latencies),
        )
        if latencies
        else None,
        history_events=HistoryEvents(
            avg=statistics.median(history.avg for history in histories),
            max=max(history.max for history in histories),
        )
        if histories
        else None,
    )


def _divide(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def _rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 3) if isinstance(value, float) else value
        for key, value in numbers.items()
    }
