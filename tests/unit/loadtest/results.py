"""Made-up results."""

from __future__ import annotations

from loadtest.results.run_result import HistoryEvents, Latency, RunResult


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
