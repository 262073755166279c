from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from loadtest.results.comparison import Comparison
from loadtest.results.run_result import HistoryEvents, Latency, RunResult
from loadtest.terminal.run_tables import comparison_table, run_table

CLASSIC = RunResult(
    arm="classic",
    scenario="single",
    workflows=1_000,
    jobs=1,
    concurrency=150,
    completed=1_000,
    failed=0,
    duration_s=20.0,
    workflows_per_s=50.0,
    jobs_per_s=50.0,
    latency_ms=Latency(p50=2_000, p90=2_500, p95=2_600, p99=2_700, avg=2_100, max=3_000),
    history_events=HistoryEvents(avg=11.0, max=11),
)
DELEGATED = replace(
    CLASSIC,
    arm="delegated",
    completed=999,
    failed=1,
    workflows_per_s=75.0,
    latency_ms=Latency(p50=1_000, p90=1_500, p95=1_600, p99=1_700, avg=1_100, max=2_000),
)
FLOOR = replace(CLASSIC, arm="floor", jobs_per_s=0.0, latency_ms=None, history_events=None)


def text(table: Table) -> str:
    output = StringIO()
    Console(width=80, file=output).print(table)
    return output.getvalue()


def test_a_run() -> None:
    shown = text(run_table(CLASSIC))
    for cell in ("single", "1,000 x 1 job", "150 in flight", "classic", "100 %", "50.0", "2,000", "2,700", "20.0"):
        assert cell in shown
    assert "Jobs" not in shown


def test_a_run_says_what_became_of_its_jobs() -> None:
    start = Latency(p50=3.14, p90=5, p95=6, p99=20, avg=4, max=30)
    result = replace(CLASSIC, job_start_ms=start, job_end_ms=CLASSIC.latency_ms, start_lag_ms=start, inline_share=0.985)
    caption = " ".join(text(run_table(result)).split())
    assert (
        "enqueue to start 3.1 / 20.0 ms, to result 2,000.0 / 2,700.0 ms, late by 3.1 / 20.0 ms; 98% inline" in caption
    )


@pytest.mark.parametrize(
    ("settings", "words"), [({"rate": 50.0}, "50 jobs/s"), ({"bursts": 3}, "3 bursts"), ({}, "all at once")]
)
def test_how_workflows_arrive(settings: dict[str, float], words: str) -> None:
    assert words in text(run_table(replace(CLASSIC, concurrency=None, settings=settings)))


def test_comparison() -> None:
    runs = {result.arm: [result] * 3 for result in (CLASSIC, DELEGATED, FLOOR)}
    runs["classic"][0] = replace(CLASSIC, workflows_per_s=40.0)
    shown = text(comparison_table([Comparison("single", 3, runs)], "classic"))
    classic = next(line for line in shown.splitlines() if "classic" in line)
    assert classic.split()[-3:] == ["10", "1.00", "1.00"]
    delegated = next(line for line in shown.splitlines() if "delegated" in line)
    assert "99.9 %" in delegated
    assert "1.50" in delegated
    assert "0.50" in delegated
    assert "medians of 3 rounds" in shown
    floor = next(line for line in shown.splitlines() if "floor" in line)
    assert floor.split().count("-") == 5
