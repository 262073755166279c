from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtest.arms import arm_named
from loadtest.results.run_result import RunResult, Second
from loadtest.runs.generator import Outcome
from loadtest.runs.judge import Observed, judge, sort_out
from loadtest.runs.plan import Plan
from loadtest.workload.jobs import Work, expected
from loadtest.workload.ledger import Entries, Execution, InlineWait, job_key
from loadtest.workload.options import Shape
from loadtest.workload.scenarios import Pattern, scenario_named

WALL = 1_000.0  # moments of outcomes are 1,000 s behind the wall clock


def micro(moment: float) -> int:
    return round((moment + WALL) * 1_000_000)


def outcome(number: int, intended: float, started: float, ended: float, work: Work | None = None) -> Outcome:
    work = work or Work(number, 2, Pattern.AT_ONCE)
    return Outcome(work, intended, started, ended, expected(work))


def entries(jobs: dict[tuple[int, int], tuple[float, float, float]], waits: tuple[InlineWait, ...] = ()) -> Entries:
    return Entries(
        {job_key(*job): Execution(1, micro(enqueued), micro(started)) for job, (enqueued, started, _) in jobs.items()},
        {job_key(*job): micro(had) for job, (_, _, had) in jobs.items()},
        waits,
    )


# Two workflows of two jobs: when a job was enqueued, when it started, when its result was there.
JOBS = {
    (0, 0): (10.1, 10.3, 10.8),
    (0, 1): (10.1, 10.4, 10.8),
    (1, 0): (11.1, 11.2, 13.5),
    (1, 1): (11.1, 12.1, 13.5),
}
OBSERVED = Observed([outcome(0, 10, 10, 11), outcome(1, 10.5, 11, 14)], entries(JOBS), WALL, None)


def judged(scenario: str, observed: Observed = OBSERVED, arm: str = "delegated", **load: Any) -> RunResult:
    chosen = load or {"workflows": 2, "jobs": 2}
    plan = Plan(arm, scenario, scenario_named(scenario).load(**chosen))
    heard: list[str] = []
    good = sort_out(arm_named(arm), observed, heard.append)
    return judge(arm_named(arm), plan, observed, good, [6, 8], settings={}, versions={})


def test_a_closed_loop() -> None:
    result = judged("fanout")
    assert (result.completed, result.failed, result.duration_s) == (2, 0, 4)
    assert (result.workflows_per_s, result.jobs_per_s) == (0.5, 1)
    assert result.latency_quantiles_ms[0] == 1_000
    assert result.latency_quantiles_ms[100] == 3_500
    assert result.job_start_ms is not None
    assert result.job_start_ms.max == pytest.approx(1_000)
    assert result.job_end_ms is not None
    assert result.job_end_ms.max == pytest.approx(2_400)
    assert result.start_lag_ms is None
    assert result.series == [Second(0, 0, 2), Second(1, 1, 0), Second(2, 0, 0), Second(3, 0, 2), Second(4, 1, 0)]
    assert result.history_events is not None
    assert result.history_events.avg == 7


def test_jobs_outside_the_sample() -> None:
    """Jobs whose enqueue was not recorded count too."""
    found = entries(JOBS)
    executions = {
        key: replace(execution, enqueued=None) if key == job_key(1, 1) else execution
        for key, execution in found.executions.items()
    }
    result = judged("fanout", replace(OBSERVED, entries=replace(found, executions=executions)))
    assert result.job_start_ms is not None
    assert result.job_start_ms.max == pytest.approx(300)
    assert sum(second.jobs for second in result.series) == 4


def test_open_loop() -> None:
    """In an open loop times begin with the intended start."""
    result = judged("steady", rate=4.0, duration=1.0, jobs=2)
    assert result.start_lag_ms is not None
    assert (result.start_lag_ms.p50, result.start_lag_ms.max) == (0, 500)
    assert result.job_end_ms is not None
    assert result.job_end_ms.max == pytest.approx(3_000)
    assert result.latency_ms is not None
    assert result.latency_ms.max == 3_500


def test_bursts() -> None:
    """The pauses between bursts are not part of the duration."""
    observed = replace(OBSERVED, outcomes=[outcome(0, 10, 10, 11), outcome(1, 13, 13, 14)])
    assert judged("burst", observed).duration_s == 2


def test_backlog() -> None:
    """A backlog is measured from the start of its first job."""
    late = {job: (enqueued, started + 2, had + 2) for job, (enqueued, started, had) in JOBS.items()}
    observed = Observed([outcome(0, 10, 10, 13), outcome(1, 10, 10, 16)], entries(late), WALL, None)
    result = judged("backlog", observed)
    assert result.duration_s == pytest.approx(16 - 12.3)
    assert result.latency_ms is not None
    assert result.latency_ms.max == 6_000
    assert len(result.series) == 4


def test_inline_share() -> None:
    """Inline waits before the measured window do not count."""
    waits = (InlineWait(micro(9.9), 100, 0), InlineWait(micro(10.5), 3, 3), InlineWait(micro(12), 1, 0))
    assert judged("fanout", replace(OBSERVED, entries=entries(JOBS, waits))).inline_share == 0.75
    assert judged("fanout").inline_share is None


def test_the_floor_has_no_jobs() -> None:
    floor = [replace(one, answer=one.work.workflow) for one in OBSERVED.outcomes]
    result = judged("fanout", Observed(floor, Entries({}, {}, ()), WALL, None), arm="floor")
    assert (result.completed, result.jobs_per_s, result.job_start_ms, result.job_end_ms) == (2, 0, None, None)


@pytest.mark.parametrize(
    ("times", "words"),
    [(0, "job 1 of workflow 0 ran 0 times, not 1"), (2, "job 1 of workflow 0 ran 2 times, not 1")],
)
def test_wrong_number_of_executions(times: int, words: str) -> None:
    """A workflow fails if one of its jobs ran more or less often than it should."""
    found = entries(JOBS)
    executions = dict(found.executions)
    executions[job_key(0, 1)] = Execution(times, micro(10.1), micro(10.4))
    heard: list[str] = []
    observed = replace(OBSERVED, entries=replace(found, executions=executions))
    assert [one.work.workflow for one in sort_out(arm_named("delegated"), observed, heard.append)] == [1]
    assert words in heard[0]
    assert judged("fanout", observed).failed == 1


def test_a_wrong_answer_fails_its_workflow() -> None:
    heard: list[str] = []
    wrong = replace(OBSERVED, outcomes=[replace(OBSERVED.outcomes[0], answer=1), OBSERVED.outcomes[1]])
    assert len(sort_out(arm_named("delegated"), wrong, heard.append)) == 1
    assert "1 of 2 workflows failed; the first: workflow 0 gave a wrong answer" in heard[0]


def test_a_job_that_is_to_fail_runs_twice() -> None:
    work = Work(0, 2, Pattern.AT_ONCE, Shape(failing_percent=100))
    observed = replace(OBSERVED, outcomes=[outcome(0, 10, 10, 11, work)])
    heard: list[str] = []
    assert not sort_out(arm_named("delegated"), observed, heard.append)
    assert "ran 1 times, not 2" in heard[0]


def test_late_generator() -> None:
    """The load test complains about its own late starts."""
    heard: list[str] = []
    sort_out(arm_named("delegated"), OBSERVED, heard.append)
    assert "started 1 of 2 workflows more than 100 ms late" in heard[0]


def test_nothing_completed() -> None:
    failed = [replace(one, answer=None, error="no luck") for one in OBSERVED.outcomes]
    result = judged("fanout", replace(OBSERVED, outcomes=failed))
    assert (result.completed, result.failed, result.latency_ms, result.job_start_ms) == (0, 2, None, None)
    assert (result.latency_quantiles_ms, result.series) == ([], [])
