from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.results.costs import Costs, ProcessCost
from loadtest.results.run_result import HistoryEvents, Latency, Second, per_second, percentile, quantiles_ms
from tests.unit.loadtest.results import result

RUN_KEYS = {
    *("arm", "scenario", "workflows", "jobs", "concurrency", "completed", "failed", "duration_s"),
    *("workflows_per_s", "jobs_per_s", "latency_ms", "history_events", "payload_bytes", "settings", "versions"),
    *("job_start_ms", "job_end_ms", "start_lag_ms", "inline_share", "latency_quantiles_ms", "series", "costs"),
}


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
        ([1.0, 2.0, 3.0], 0, 1.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, value: float) -> None:
    assert percentile(values, percent) == value


def test_latency() -> None:
    """Latencies are milliseconds; the values may come in any order."""
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


def test_quantiles() -> None:
    """Quantiles go from the lowest to the highest value."""
    quantiles = quantiles_ms([number / 1000 for number in range(100, -1, -1)])
    assert quantiles == pytest.approx(list(range(101)), abs=1.01)
    assert (quantiles[0], quantiles[100], len(quantiles)) == (0, 100, 101)
    assert quantiles_ms([0.5]) == [500.0] * 101
    assert quantiles_ms([]) == []


def test_a_series_has_every_second() -> None:
    assert per_second([0.0, 0.99, 3.2], [0.5, 1.0, -0.001]) == [
        Second(0, 2, 2),
        Second(1, 0, 1),
        Second(2, 0, 0),
        Second(3, 1, 0),
    ]
    assert per_second([], []) == []


def test_json_is_rounded_all_through() -> None:
    numbers = replace(result(), latency_quantiles_ms=[1.23456], series=[Second(0, 1, 2)], inline_share=1 / 3).to_json()
    assert numbers["latency_quantiles_ms"] == [1.235]
    assert numbers["series"] == [{"s": 0, "workflows": 1, "jobs": 2}]
    assert numbers["inline_share"] == 0.333


def test_costs_in_json() -> None:
    """The JSON object has the costs of a job and of a workflow beside the total."""
    costs = Costs(150, {}, 1_234, 20, None, {"relay": ProcessCost(0.0012, 1_000)})
    numbers = replace(result(), costs=costs).to_json()["costs"]
    assert numbers["persistence_operations"] == 150
    assert numbers["per_job"] == {
        "persistence_operations": 1.875,
        "wal_bytes": 15.425,
        "commits": 0.25,
        "dead_tuples": None,
        "cpu_ms": {"relay": 0.015},
        "temporal_wal_bytes": None,
        "temporal_commits": None,
        "temporal_dead_tuples": None,
        "statements": {},
    }
    assert numbers["per_workflow"] == {"persistence_operations": 7.5, "statements": {}}
    nothing = replace(result(failed=20), costs=costs).to_json()["costs"]
    assert (nothing["wal_bytes"], nothing["per_job"], nothing["per_workflow"]) == (1_234, None, None)
