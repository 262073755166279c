"""The numbers of queues that run without workflows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.results.comparison import median_of
from loadtest.results.run_result import Latency, rounded


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The numbers of one run of one contender; the field names are the JSON keys, stable."""

    contender: str
    """Which queue."""
    mode: str
    """bulk, backlog or steady."""
    jobs: int
    """Jobs asked for."""
    payload_bytes: int
    """Size of a job's payload."""
    rate: float | None
    """Steady: jobs enqueued in a second."""
    completed: int
    """Jobs that ran exactly once and left no row."""
    failed: int
    """All other jobs."""
    duration_s: float
    """Bulk and steady: from the first enqueue; backlog: from the first start; until no row is left."""
    jobs_per_s: float
    """Completed jobs in a second of `duration_s`."""
    enqueued_per_s: float
    """Jobs enqueued in a second, as long as jobs were enqueued."""
    job_start_ms: Latency | None
    """Steady: from the intended enqueue time to the start of the handler."""
    relay_peak_rss_bytes: int | None
    """The most memory that the relay held; None: the run had no relay of its own."""
    cpu_ms_per_job: dict[str, float]
    """Processor milliseconds of each known process."""


@dataclass(frozen=True, slots=True)
class BulkComparison:
    """Several contenders on the same load; the field names are the JSON keys, stable."""

    mode: str
    """bulk, backlog or steady."""
    rounds: int
    """Runs of each contender."""
    arms: dict[str, BulkResult]
    """Medians over the rounds; of `completed`, `failed` and the relay's memory the worst round."""
    runs: list[BulkResult]
    """All runs, in order."""
    settings: dict[str, Any]
    """PostgreSQL's settings about safe commits, and what was tuned for each contender."""
    versions: dict[str, Any]
    """Versions of all parts, and the machine."""

    @property
    def failed(self) -> int:
        """Failed jobs of the worst rounds."""
        return sum(result.failed for result in self.arms.values())

    def ratio(self, numerator: str, denominator: str) -> float | None:
        """Divide throughputs, round by round, and return the median; None for a steady load, whose rate is fixed."""
        if self.mode == "steady":
            return None
        rounds = zip(self._rates(numerator), self._rates(denominator), strict=True)
        return median_of(above / below if below else None for above, below in rounds)

    def cost_ratio(self, numerator: str, denominator: str) -> float | None:
        """Divide the processor times of a job, round by round, and return the median; None: not measured."""
        rounds = zip(self._costs(numerator), self._costs(denominator), strict=True)
        return median_of(above / below if below else None for above, below in rounds)

    def spread(self, name: str) -> tuple[float, float]:
        """Return the least and the greatest throughput of a contender."""
        rates = self._rates(name)
        return min(rates), max(rates)

    def _rates(self, name: str) -> list[float]:
        return [run.jobs_per_s for run in self.runs if run.contender == name]

    def _costs(self, name: str) -> list[float]:
        return [sum(run.cpu_ms_per_job.values()) for run in self.runs if run.contender == name]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object, with the ratios of all ordered pairs."""
        pairs = [(a, b) for a in self.arms for b in self.arms if a != b]
        numbers = {
            **asdict(self),
            "spread": {name: {"jobs_per_s": list(self.spread(name))} for name in self.arms},
            "ratios": {
                f"{a}/{b}": {"jobs_per_s": self.ratio(a, b), "cpu_ms_per_job": self.cost_ratio(a, b)} for a, b in pairs
            },
        }
        json: dict[str, Any] = rounded(numbers)
        return json


def median_result(runs: Sequence[BulkResult]) -> BulkResult:
    """Return the medians of one contender's runs.

    Args:
        runs: at least one, all with the same load.
    """
    first = runs[0]
    peaks = [run.relay_peak_rss_bytes for run in runs if run.relay_peak_rss_bytes is not None]
    return BulkResult(
        contender=first.contender,
        mode=first.mode,
        jobs=first.jobs,
        payload_bytes=first.payload_bytes,
        rate=first.rate,
        completed=min(run.completed for run in runs),
        failed=max(run.failed for run in runs),
        duration_s=statistics.median(run.duration_s for run in runs),
        jobs_per_s=statistics.median(run.jobs_per_s for run in runs),
        enqueued_per_s=statistics.median(run.enqueued_per_s for run in runs),
        job_start_ms=Latency.median(run.job_start_ms for run in runs),
        relay_peak_rss_bytes=max(peaks, default=None),
        cpu_ms_per_job=_medians([run.cpu_ms_per_job for run in runs]),
    )


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: statistics.median(row[key] for row in rows if key in row) for key in rows[0]}
