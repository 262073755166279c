"""A comparison: medians, spread and ratios of the runs of several arms."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from loadtest.results.costs import Costs
from loadtest.results.run_result import HistoryEvents, Latency, RunResult, rounded

_ALIKE: Final = frozenset({"workflows", "jobs", "concurrency", "payload_bytes"})  # the same in all rounds


@dataclass(frozen=True, slots=True)
class Ratio:
    """One arm's numbers divided by another's; None where no round has a number and a divisor."""

    workflows_per_s: float | None
    """Above 1: more throughput."""
    jobs_per_s: float | None
    """Above 1: more throughput."""
    latency_p50: float | None
    """Below 1: faster."""
    latency_p99: float | None
    """Below 1: faster."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several arms on the same load."""

    scenario: str
    """What a workflow did."""
    rounds: int
    """How many runs each arm had; if the arms differ, the highest number."""
    runs: Mapping[str, Sequence[RunResult]]
    """The runs of each arm, in the order of the rounds; the first arm is the baseline."""

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.runs))

    @property
    def paired(self) -> bool:
        """Whether all arms had equally many runs, so that each has one in every round."""
        return len({len(runs) for runs in self.runs.values()}) == 1

    @property
    def arms(self) -> dict[str, RunResult]:
        """The median of each arm's rounds; `completed` and `failed` are from the worst round."""
        return {arm: median_run(results) for arm, results in self.runs.items()}

    @property
    def failed(self) -> int:
        """Failed workflows of the worst rounds."""
        return sum(max(result.failed for result in results) for results in self.runs.values())

    def ratio(self, numerator: str, denominator: str) -> Ratio:
        """Divide one arm's numbers by another's; see `ratio_of`."""

        def divided(value: Callable[[RunResult], float | None]) -> float | None:
            return self.ratio_of(value, numerator, denominator)

        return Ratio(
            workflows_per_s=divided(lambda run: run.workflows_per_s),
            jobs_per_s=divided(lambda run: run.jobs_per_s),
            latency_p50=divided(lambda run: run.latency_ms.p50 if run.latency_ms else None),
            latency_p99=divided(lambda run: run.latency_ms.p99 if run.latency_ms else None),
        )

    def ratio_of(self, value: Callable[[RunResult], float | None], numerator: str, denominator: str) -> float | None:
        """Divide a number of one arm's runs by another's, round by round, and return the median; None: there is none.

        The speed of a shared machine drifts, and runs of the same round are close in time. So the runs of a round are
        divided first, and the median comes after. If the arms have unequal numbers of runs, their medians are divided.

        Args:
            value: finds the number in a run.
            numerator: an arm.
            denominator: another arm.
        """
        above, below = ([value(run) for run in self.runs[arm]] for arm in (numerator, denominator))
        if len(above) != len(below):
            above, below = [median_of(above)], [median_of(below)]
        return median_of(one / other for one, other in zip(above, below, strict=True) if one is not None and other)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object, stable keys: medians, their spread, all ratios, all runs."""
        arms = self.arms
        return {
            "scenario": self.scenario,
            "rounds": self.rounds,
            "baseline": self.baseline,
            "arms": {name: result.to_json() for name, result in arms.items()},
            "spread": {name: spread(results) for name, results in self.runs.items()},
            "ratios": {f"{a}/{b}": rounded(asdict(self.ratio(a, b))) for a in arms for b in arms if a != b},
            "runs": [result.to_json() for results in self.runs.values() for result in results],
        }


def median_run(runs: Sequence[RunResult]) -> RunResult:
    """Return the medians of one arm's runs. Values that are not numbers come from the run with the median throughput.

    Args:
        runs: at least one, all with the same load.
    """
    middle = sorted(runs, key=lambda run: run.workflows_per_s)[len(runs) // 2]
    histories = [run.history_events for run in runs if run.history_events]
    quantiles = [run.latency_quantiles_ms for run in runs if run.latency_quantiles_ms]
    shares = [run.inline_share for run in runs if run.inline_share is not None]
    return RunResult(
        arm=middle.arm,
        scenario=middle.scenario,
        workflows=middle.workflows,
        jobs=middle.jobs,
        concurrency=middle.concurrency,
        completed=min(run.completed for run in runs),
        failed=max(run.failed for run in runs),
        duration_s=statistics.median(run.duration_s for run in runs),
        workflows_per_s=statistics.median(run.workflows_per_s for run in runs),
        jobs_per_s=statistics.median(run.jobs_per_s for run in runs),
        latency_ms=Latency.median(run.latency_ms for run in runs),
        history_events=HistoryEvents(
            avg=statistics.median(history.avg for history in histories),
            max=max(history.max for history in histories),
        )
        if histories
        else None,
        payload_bytes=middle.payload_bytes,
        settings=middle.settings,
        versions=middle.versions,
        job_start_ms=Latency.median(run.job_start_ms for run in runs),
        job_end_ms=Latency.median(run.job_end_ms for run in runs),
        start_lag_ms=Latency.median(run.start_lag_ms for run in runs),
        inline_share=statistics.median(shares) if shares else None,
        latency_quantiles_ms=[statistics.median(values) for values in zip(*quantiles, strict=True)],
        series=middle.series,
        costs=Costs.median([run.costs for run in runs if run.costs]),
    )


def spread(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Return the least and the greatest value of each number of a run, nested like the run's JSON object.

    Args:
        runs: at least one, all with the same load.
    """
    extremes = _extremes([run.to_json() for run in runs])
    return {name: value for name, value in extremes.items() if name not in _ALIKE}


def _extremes(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in objects for name in one):
        values = [one[name] for one in objects if one.get(name) is not None]
        if values and all(isinstance(value, int | float) for value in values):
            result[name] = [min(values), max(values)]
        elif values and all(isinstance(value, Mapping) for value in values) and name not in ("settings", "versions"):
            result[name] = _extremes(values)
    return result


def median_of(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that are not None; None: there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
