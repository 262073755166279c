from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.measure import Comparison, HistoryEvents, Latency, Ratio, RunResult, median_run, percentile

RUN_KEYS = {
    *("arm", "scenario", "workflows", "jobs", "concurrency", "completed", "failed", "duration_s"),
    *("workflows_per_s", "jobs_per_s", "latency_ms", "history_events"),
}


def result(arm: str = "classic", *, speed: float = 10.0, p50: float = 100.0, failed: int = 0) -> RunResult:
    return RunResult(
        arm=arm,
        scenario="fanout",
        workflows=20,
        jobs=4,
        concurrency=5,
        completed=20 - failed,
        failed=failed,
        duration_s=20 / speed,
        workflows_per_s=speed,
        jobs_per_s=speed * 4,
        latency_ms=Latency(p50=p50, p90=p50 * 2, p95=p50 * 3, p99=p50 * 4, avg=p50, max=p50 * 5),
        history_events=HistoryEvents(avg=11.0, max=12),
    )


@pytest.mark.parametrize(
    ("values", "percent", "value"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0], 51, 2.0),
        ([float(number) for number in range(1, 101)], 50, 50.0),
        ([float(number) for number in range(1, 101)], 99, 99.0),
        ([float(number) for number in range(1, 101)], 100, 100.0),
        ([1.0, 2.0, 3.0], 0.1, 1.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, value: float) -> None:
    assert percentile(values, percent) == value


def test_latency_is_in_milliseconds_and_takes_any_order() -> None:
    latency = Latency.of([0.3, 0.1, 0.2])
    assert latency == Latency(p50=200, p90=300, p95=300, p99=300, avg=pytest.approx(200), max=300)
    assert Latency.of([]) is None


def test_run_json_has_the_stable_keys() -> None:
    numbers = result().to_json()
    assert set(numbers) == RUN_KEYS
    assert set(numbers["latency_ms"]) == {"p50", "p90", "p95", "p99", "avg", "max"}
    assert set(numbers["history_events"]) == {"avg", "max"}


def test_an_arm_without_history_has_none() -> None:
    assert replace(result(), history_events=None).to_json()["history_events"] is None
    assert HistoryEvents.of([]) is None


def test_medians_of_rounds_but_the_worst_of_the_counts() -> None:
    median = median_run([result(speed=10, p50=300), result(speed=30, p50=100, failed=2), result(speed=20, p50=200)])
    assert (median.workflows_per_s, median.jobs_per_s, median.duration_s) == (20, 80, 1)
    assert median.latency_ms is not None
    assert (median.latency_ms.p50, median.latency_ms.p99) == (200, 800)
    assert (median.completed, median.failed) == (18, 2)


def test_medians_of_runs_in_which_nothing_completed() -> None:
    nothing = replace(result(failed=20), latency_ms=None, history_events=None)
    median = median_run([nothing, nothing])
    assert (median.latency_ms, median.history_events, median.failed) == (None, None, 20)


def test_ratios_divide_medians() -> None:
    assert Ratio.of(result(speed=30, p50=50), result(speed=10, p50=100)) == Ratio(
        workflows_per_s=3, jobs_per_s=3, latency_p50=0.5, latency_p99=0.5
    )


def test_no_ratio_to_nothing() -> None:
    floor = replace(result("floor"), jobs_per_s=0.0)
    failed = replace(result(failed=20), workflows_per_s=0.0, jobs_per_s=0.0, latency_ms=None)
    assert Ratio.of(result(), floor).jobs_per_s is None
    assert Ratio.of(result(), failed) == Ratio(None, None, None, None)


def test_comparison_json_has_the_stable_keys() -> None:
    numbers = Comparison("fanout", 3, {"classic": result(), "delegated": result("delegated", speed=20)}).to_json()
    assert set(numbers) == {"scenario", "rounds", "arms", "ratios"}
    assert set(numbers["arms"]) == {"classic", "delegated"}
    assert set(numbers["arms"]["delegated"]) == RUN_KEYS
    assert set(numbers["ratios"]) == {"delegated/classic", "classic/delegated"}
    assert numbers["ratios"]["delegated/classic"] == {
        "workflows_per_s": 2,
        "jobs_per_s": 2,
        "latency_p50": 1,
        "latency_p99": 1,
    }
