from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.results.comparison import Comparison, Ratio, median_run, spread
from loadtest.results.costs import Costs, ProcessCost
from loadtest.results.run_result import Latency, RunResult
from tests.unit.loadtest.results import result

RATIO_KEYS = {"workflows_per_s", "jobs_per_s", "latency_p50", "latency_p99"}


def divided(above: RunResult, below: RunResult) -> Ratio:
    return Comparison("single", 1, {"below": [below], "above": [above]}).ratio("above", "below")


def test_medians() -> None:
    """Numbers are medians of the rounds; completed and failed work is from the worst one."""
    median = median_run([result(speed=10, p50=300), result(speed=30, p50=100, failed=2), result(speed=20, p50=200)])
    assert (median.workflows_per_s, median.jobs_per_s, median.duration_s) == (20, 80, 1)
    assert median.latency_ms is not None
    assert (median.latency_ms.p50, median.latency_ms.p99) == (200, 800)
    assert (median.completed, median.failed) == (18, 2)


def test_medians_of_nothing() -> None:
    """Runs in which nothing completed have no latencies."""
    nothing = replace(result(failed=20), latency_ms=None, history_events=None)
    median = median_run([nothing, nothing])
    assert (median.latency_ms, median.history_events, median.failed) == (None, None, 20)


def test_ratios() -> None:
    """The machine halved its speed twice: only ratios within a round are fair."""
    slow, fast = [result(speed=speed) for speed in (45, 40, 20)], [result(speed=speed) for speed in (90, 20, 40)]
    comparison = Comparison("single", 3, {"classic": fast, "delegated": slow})
    assert comparison.ratio("delegated", "classic").workflows_per_s == 0.5
    floor = [replace(run, jobs_per_s=0.0) for run in fast]
    assert Comparison("single", 3, {"floor": floor, "delegated": slow}).ratio("delegated", "floor").jobs_per_s is None


def test_ratios_of_unequal_runs() -> None:
    """Between arms with unequal numbers of runs a ratio is that of the medians."""
    runs = {"classic": [result(speed=40), result(speed=44)], "delegated": [result(speed=63)]}
    comparison = Comparison("single", 2, runs)
    assert not comparison.paired
    assert comparison.ratio("delegated", "classic").workflows_per_s == 1.5
    assert comparison.to_json()["ratios"]["delegated/classic"]["workflows_per_s"] == 1.5


def test_ratios_divide() -> None:
    assert divided(result(speed=30, p50=50), result(speed=10, p50=100)) == Ratio(
        workflows_per_s=3, jobs_per_s=3, latency_p50=0.5, latency_p99=0.5
    )


def test_no_ratio_to_nothing() -> None:
    floor = replace(result("floor"), jobs_per_s=0.0)
    failed = replace(result(failed=20), workflows_per_s=0.0, jobs_per_s=0.0, latency_ms=None)
    assert divided(result(), floor).jobs_per_s is None
    assert divided(result(), failed) == Ratio(None, None, None, None)


def test_medians_of_what_not_every_round_has() -> None:
    start = Latency(p50=1, p90=2, p95=3, p99=4, avg=5, max=6)
    costs = Costs(10, {"CreateWorkflowExecution": 10}, 100, 1, 0, {"relay": ProcessCost(1.5, 1_000)})
    median = median_run(
        [
            replace(result(speed=1), inline_share=0.5, latency_quantiles_ms=[1.0] * 101),
            replace(result(speed=2), inline_share=0.7, job_start_ms=start, versions={"cores": 2}, costs=costs),
            replace(result(speed=3), latency_quantiles_ms=[3.0] * 101),
        ]
    )
    assert median.inline_share == pytest.approx(0.6)
    assert median.latency_quantiles_ms == [2.0] * 101
    assert (median.job_start_ms, median.job_end_ms) == (start, None)
    assert (median.versions, median.costs) == ({"cores": 2}, costs)


def test_spread() -> None:
    """The spread is the lowest and the highest value."""
    costs = Costs(10, {}, None, 1, 0, {"relay": ProcessCost(1.5, 1_000)})
    more = replace(costs, persistence_operations=30)
    extremes = spread([replace(result(speed=10), costs=more), replace(result(speed=30, p50=50), costs=costs)])
    assert extremes["workflows_per_s"] == [10, 30]
    assert extremes["latency_ms"]["p50"] == [50, 100]
    assert extremes["costs"]["persistence_operations"] == [10, 30]
    assert extremes["costs"]["processes"]["relay"]["cpu_s"] == [1.5, 1.5]
    assert not {"workflows", "arm", "settings", "series", "inline_share"} & set(extremes)


def test_comparison_json_has_the_stable_keys() -> None:
    runs = {"classic": [result(), result(speed=12)], "delegated": [result("delegated", speed=22, failed=1)] * 2}
    comparison = Comparison("fanout", 2, runs)
    numbers = comparison.to_json()
    assert set(numbers) == {"scenario", "rounds", "baseline", "arms", "spread", "ratios", "runs"}
    assert (numbers["baseline"], comparison.failed) == ("classic", 1)
    assert set(numbers["arms"]) == set(numbers["spread"]) == {"classic", "delegated"}
    assert numbers["arms"]["classic"]["workflows_per_s"] == 11
    assert [run["arm"] for run in numbers["runs"]] == ["classic", "classic", "delegated", "delegated"]
    assert set(numbers["ratios"]) == {"delegated/classic", "classic/delegated"}
    assert set(numbers["ratios"]["delegated/classic"]) == RATIO_KEYS
    assert numbers["ratios"]["delegated/classic"]["jobs_per_s"] == pytest.approx((22 / 10 + 22 / 12) / 2, abs=1e-3)
