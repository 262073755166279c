from __future__ import annotations

from typing import Any

import pytest

from delegator.dev import RunningStack
from loadtest.arms import ARMS
from loadtest.progress import Progress
from loadtest.results.run_result import RunResult
from loadtest.runs.arm_run import run
from loadtest.runs.plan import Plan
from loadtest.servers.stack import Servers
from loadtest.workload.scenarios import scenario_named


class Complaints(Progress):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def complain(self, message: str) -> None:
        if "late" not in message:  # other tests may keep this machine busy
            self.heard.append(message)


async def small_run(stack: RunningStack, arm: str, scenario: str, load: dict[str, Any], **options: Any) -> RunResult:
    kind, complaints = scenario_named(scenario), Complaints()
    plan = Plan(arm, scenario, kind.load(**load), options=kind.options(**options))
    result = await run(plan, Servers.of(stack), complaints)
    assert complaints.heard == []
    assert (result.completed, result.failed) == (plan.load.workflows, 0)
    assert result.jobs_per_s == pytest.approx(plan.load.workflows * plan.load.jobs / result.duration_s)
    assert sum(second.workflows for second in result.series) == plan.load.workflows
    assert result.job_start_ms is not None
    assert result.job_end_ms is not None
    assert 0 <= result.job_start_ms.p50 <= result.job_end_ms.p50
    return result


@pytest.mark.parametrize("arm", ARMS)
async def test_every_arm_does_the_same_work(stack: RunningStack, arm: str) -> None:
    if not ARMS[arm].runs_jobs:
        plan = Plan(arm, "fanout", scenario_named("fanout").load(workflows=2, jobs=30, concurrency=2))
        result = await run(plan, Servers.of(stack), Progress())
        assert (result.completed, result.failed, result.jobs_per_s) == (2, 0, 0)
        assert (result.job_start_ms, result.job_end_ms) == (None, None)
        return
    result = await small_run(stack, arm, "fanout", {"workflows": 2, "jobs": 30, "concurrency": 2}, payload_bytes=50)
    assert (result.history_events is None) is (arm == "standalone")
    assert (result.inline_share is not None) is ARMS[arm].plugin
    assert result.costs is not None
    assert result.costs.persistence_operations
    assert set(result.costs.processes) >= {"postgres", "temporal", "relay", "Temporal worker", "load generator"}


@pytest.mark.parametrize(("arm", "versions"), [("delegated", 3), ("signalled", 2)])
async def test_costs_of_rows(stack: RunningStack, arm: str, versions: int) -> None:
    """A run pays for every version of its rows: claimed, deleted, and completed in between if inline."""
    result = await small_run(stack, arm, "fanout", {"workflows": 2, "jobs": 30, "concurrency": 2})
    assert result.costs is not None
    assert result.costs.dead_tuples is not None
    assert versions * 60 <= result.costs.dead_tuples < versions * 60 + 30


async def test_history_of_local(stack: RunningStack) -> None:
    """The history of the arm local has one marker for each job, like that of jobs completed inline."""
    plan = Plan("local", "sequence", scenario_named("sequence").load(workflows=2, jobs=3, concurrency=2))
    result = await run(plan, Servers.of(stack), Progress())
    assert result.history_events is not None
    assert result.history_events.max == result.history_events.avg == 5 + 3  # one marker for each job


async def test_sequence(stack: RunningStack) -> None:
    await small_run(stack, "drop-in", "sequence", {"workflows": 4, "jobs": 3, "concurrency": 2})


async def test_sleep(stack: RunningStack) -> None:
    result = await small_run(
        stack, "delegated", "sleep", {"workflows": 3, "jobs": 5, "concurrency": 3}, sleep_ms=300, payload_bytes=10
    )
    assert result.latency_ms is not None
    assert result.latency_quantiles_ms[0] >= 300


async def test_burst(stack: RunningStack) -> None:
    result = await small_run(stack, "delegated", "burst", {"workflows": 10}, bursts=2, pause=1.5)
    assert len(result.series) >= 2
    assert result.duration_s <= len(result.series) - 1  # without the pause
    assert result.concurrency is None


async def test_steady(stack: RunningStack) -> None:
    result = await small_run(stack, "delegated", "steady", {"rate": 10.0, "duration": 1.5})
    assert result.workflows == 15
    assert result.start_lag_ms is not None
    assert result.duration_s >= 1.4


@pytest.mark.parametrize("arm", ["classic", "delegated"])
async def test_mixed(stack: RunningStack, arm: str) -> None:
    await small_run(
        *(stack, arm, "mixed", {"workflows": 2, "jobs": 20, "concurrency": 2}),
        sleep_ms=100,
        slow_percent=20,
        large_bytes=5_000,
        large_percent=20,
        failing_percent=20,
    )


@pytest.mark.parametrize("arm", ["classic", "delegated"])
async def test_backlog(stack: RunningStack, arm: str) -> None:
    result = await small_run(stack, arm, "backlog", {"workflows": 2, "jobs": 20})
    assert result.latency_ms is not None
    # The job workers start only after all jobs are enqueued.
    assert result.job_start_ms is not None
    assert result.duration_s * 1000 < result.latency_ms.max
    assert result.costs is not None
    assert result.costs.processes["HTTP worker" if arm == "delegated" else "Temporal activity worker"].cpu_s > 0.1
    if arm == "delegated":  # the first claims belong to the measured window too
        assert result.costs.dead_tuples is not None
        assert result.costs.dead_tuples >= 2 * 40
