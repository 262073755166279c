"""Made-up results, as `run`, `compare` and `bulk` write them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loadtest.results.comparison import Comparison
from loadtest.results.costs import Costs, ProcessCost
from loadtest.results.queue_result import BulkComparison, BulkResult
from loadtest.results.run_result import HistoryEvents, Latency, RunResult, Second, quantiles_ms

OLD_KEYS = (
    *("arm", "scenario", "workflows", "jobs", "concurrency", "completed", "failed", "duration_s"),
    *("workflows_per_s", "jobs_per_s", "latency_ms", "history_events"),
)


def run(
    arm: str = "classic", *, speed: float = 40.0, jobs: int = 1, scenario: str = "single", **changes: Any
) -> RunResult:
    seconds = [(100 - number % 7) / speed for number in range(100)]
    values: dict[str, Any] = {
        "arm": arm,
        "scenario": scenario,
        "workflows": 100,
        "jobs": jobs,
        "concurrency": 10,
        "completed": 100,
        "failed": 0,
        "duration_s": 100 / speed,
        "workflows_per_s": speed,
        "jobs_per_s": 0.0 if arm == "floor" else speed * jobs,
        "latency_ms": Latency.of(seconds),
        "history_events": HistoryEvents(avg=11.0, max=12),
        "payload_bytes": 64,
        "settings": {"workflows": 100, "jobs": jobs, "concurrency": 10, "payload_bytes": 64, "rate": None},
        "versions": {"python": "3.11.7", "postgres": "18.1", "cores": 2},
        "job_start_ms": Latency.of([0.012, 0.034]),
        "job_end_ms": Latency.of([0.045, 0.067]),
        "inline_share": 0.9 if arm == "delegated" else None,
        "latency_quantiles_ms": quantiles_ms(seconds),
        "series": [Second(0, 40, 40 * jobs), Second(1, 40, 40 * jobs), Second(2, 20, 20 * jobs)],
        "costs": Costs(
            persistence_operations=700,
            persistence_by_operation={"UpdateWorkflowExecution": 500, "CreateTasks": 200},
            wal_bytes=120_000,
            commits=50,
            dead_tuples=200,
            processes={
                "temporal": ProcessCost(cpu_s=0.5, peak_rss_bytes=150 << 20),
                "postgres": ProcessCost(cpu_s=0.1, peak_rss_bytes=50 << 20),
            },
        ),
    }
    return RunResult(**values | changes)


def comparison(*arms: str, rounds: int = 3, jobs: int = 1, scenario: str = "single", **changes: Any) -> Comparison:
    return Comparison(
        scenario,
        rounds,
        {
            arm: [
                run(arm, speed=40 + 10 * place + number, jobs=jobs, scenario=scenario, **changes)
                for number in range(rounds)
            ]
            for place, arm in enumerate(arms)
        },
    )


def bulk() -> dict[str, Any]:
    results = [
        BulkResult(
            contender=name,
            mode="bulk",
            jobs=5000,
            payload_bytes=100,
            rate=None,
            completed=5000,
            failed=0,
            duration_s=1.0,
            jobs_per_s=rate,
            enqueued_per_s=rate,
            job_start_ms=None,
            relay_peak_rss_bytes=100 << 20,
            cpu_ms_per_job={"relay": 0.02, "worker": 0.1},
        )
        for name, rate in (("delegator", 5000.0), ("pgqueuer", 4000.0))
    ]
    return BulkComparison(
        mode="bulk",
        rounds=1,
        arms={result.contender: result for result in results},
        runs=results,
        settings={"postgres": {"fsync": "on"}},
        versions={"python": "3.11.7"},
    ).to_json()


def old(json: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison as an old version wrote it: with few numbers, and medians only."""
    arms = {name: {key: value[key] for key in OLD_KEYS} for name, value in json["arms"].items()}
    return {"scenario": json["scenario"], "rounds": json["rounds"], "arms": arms, "ratios": json["ratios"]}


def without_costs(result: RunResult) -> dict[str, Any]:
    return asdict(result) | {"costs": None}
