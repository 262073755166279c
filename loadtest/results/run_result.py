"""The numbers of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from loadtest.results.costs import Costs, UnitCosts

_DIGITS: Final = 3
_UNIT_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of many workflows or jobs, in milliseconds."""

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

    @classmethod
    def median(cls, runs: Iterable[Latency | None]) -> Latency | None:
        """Return the median of each number over several runs; None when no run has any."""
        known = [latency for latency in runs if latency is not None]
        if not known:
            return None
        return cls(
            **{part.name: statistics.median(getattr(latency, part.name) for latency in known) for part in fields(cls)}
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
class Second:
    """What was completed within one second."""

    s: int
    """Seconds since the beginning."""
    workflows: int
    """Workflows that gave the right answer."""
    jobs: int
    """Jobs whose result the workflow got."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The numbers of one run; the field names are the JSON keys, stable."""

    arm: str
    """The arm."""
    scenario: str
    """What a workflow did."""
    workflows: int
    """Workflows asked for."""
    jobs: int
    """Jobs of a workflow. An arm without jobs has the number of the others."""
    concurrency: int | None
    """Workflows in flight; None: the scenario does not limit them."""
    completed: int
    """Workflows that gave the right answer and whose jobs ran as often as they should."""
    failed: int
    """All other workflows."""
    duration_s: float
    """From the first start to the last result. Bursts: without pauses. Backlog: from the start of the first job."""
    workflows_per_s: float
    """Completed workflows in a second."""
    jobs_per_s: float
    """Jobs of completed workflows in a second; 0 for an arm without jobs."""
    latency_ms: Latency | None
    """Start to result of completed workflows (open loop: from the intended start); None: none completed."""
    history_events: HistoryEvents | None
    """Length of histories; None: the arm has none."""
    payload_bytes: int = 0
    """Payload of every job."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What shaped the run."""
    versions: dict[str, Any] = field(default_factory=dict)
    """What it ran on."""
    job_start_ms: Latency | None = None
    """From the enqueue of a job, or the scheduling of an activity, to the first start of its handler; None: no jobs.

    Every 16th job of a workflow is measured, for `job_end_ms` too. In the arm `drop-in-worker` it begins with the
    insert of the row, after Temporal has dispatched the activity.
    """
    job_end_ms: Latency | None = None
    """From the enqueue of a job (open loop: its workflow's intended start) until its workflow has the result."""
    start_lag_ms: Latency | None = None
    """How late an open loop started its workflows (part of their latency); None: not an open loop."""
    inline_share: float | None = None
    """Share of the jobs that were completed within the workflow task that enqueued them; None: the arm can't."""
    latency_quantiles_ms: list[float] = field(default_factory=list)
    """`latency_ms` at 0, 1, ..., 100 %."""
    series: list[Second] = field(default_factory=list)
    """Completions in each second."""
    costs: Costs | None = None
    """What the measured window cost; None: not measured."""

    @property
    def completed_jobs(self) -> int:
        """Jobs that the costs are divided by. An arm without jobs has as many as the others."""
        return self.completed * self.jobs if self.workflows else self.completed

    @property
    def costs_per_job(self) -> UnitCosts | None:
        """What a job cost; None: not measured, or none was completed."""
        return self.costs.per(self.completed_jobs) if self.costs else None

    @property
    def costs_per_workflow(self) -> UnitCosts | None:
        """What a workflow cost; None: not measured, or none was completed."""
        return self.costs.per(self.completed) if self.costs and self.workflows else None

    def to_json(self) -> dict[str, Any]:
        """Return the run as a JSON object, with the costs of a job and of a workflow beside the total."""
        numbers: dict[str, Any] = rounded(asdict(self))
        if self.costs is not None:
            job, workflow = self.costs_per_job, self.costs_per_workflow
            shares = {
                "per_job": asdict(job) if job else None,
                "per_workflow": {
                    "persistence_operations": workflow.persistence_operations,
                    "statements": workflow.statements,
                }
                if workflow
                else None,
            }
            numbers["costs"] |= rounded(shares, _UNIT_DIGITS)
        return numbers


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of the values do not exceed (nearest rank).

    Args:
        ordered: the values, ascending; at least one.
        percent: from 0 (the least value) to 100.
    """
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def quantiles_ms(seconds: Iterable[float]) -> list[float]:
    """Return the values at 0, 1, ..., 100 %, in milliseconds; nothing when there are none."""
    ordered = sorted(value * 1000 for value in seconds)
    return [percentile(ordered, percent) for percent in range(101)] if ordered else []


def per_second(workflows: Iterable[float], jobs: Iterable[float]) -> list[Second]:
    """Count completions in each second, with zeroes for seconds without any.

    Args:
        workflows: seconds from the beginning to each workflow's result.
        jobs: seconds from the beginning to each job's result.
    """
    ended, had = _counted(workflows), _counted(jobs)
    return [
        Second(second, ended.get(second, 0), had.get(second, 0))
        for second in range(max([*ended, *had], default=-1) + 1)
    ]


def rounded(value: Any, digits: int = _DIGITS) -> Any:
    """Return a JSON value with its floats rounded.

    Args:
        value: any nesting of objects and lists.
        digits: after the point.
    """
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return value


def _counted(moments: Iterable[float]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for moment in moments:
        second = max(0, math.floor(moment))
        counts[second] = counts.get(second, 0) + 1
    return counts
