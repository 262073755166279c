from __future__ import annotations

from dataclasses import replace

import pytest

from delegator.errors import ConfigurationError
from loadtest.arms import ARMS, arm_named
from loadtest.runs.arm_rounds import arms_listed
from loadtest.workload.jobs import Work, answer, answer_of, expected, fold, place, work_of
from loadtest.workload.options import Options, Shape
from loadtest.workload.scenarios import SCENARIOS, Load, Pattern, scenario_named


def test_the_reference_runs_are_the_defaults() -> None:
    single, fanout = scenario_named("single"), scenario_named("fanout")
    assert single.load("classic") == Load(workflows=1_000, jobs=1, concurrency=50)
    assert single.load("delegated") == Load(workflows=3_000, jobs=1, concurrency=150)
    assert fanout.load("classic") == fanout.load("delegated") == Load(workflows=10, jobs=200, concurrency=10)


@pytest.mark.parametrize("name", SCENARIOS)
def test_compare_gives_all_arms_the_same(name: str) -> None:
    assert SCENARIOS[name].load() == SCENARIOS[name].compared


def test_given_numbers_win() -> None:
    assert scenario_named("sequence").load("classic", workflows=7, jobs=3, concurrency=2) == Load(7, 3, 2)


@pytest.mark.parametrize("option", ["workflows", "jobs", "concurrency"])
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_must_be_positive(option: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"--{option} must be at least 1, not {value}"):
        scenario_named("fanout").load(**{option: value})


def test_single_has_one_job() -> None:
    with pytest.raises(ConfigurationError, match="try fanout"):
        scenario_named("single").load(jobs=2)


def test_classic_is_held_to_temporals_limit() -> None:
    fanout, sequence = scenario_named("fanout"), scenario_named("sequence")
    arm_named("classic").check(fanout, fanout.load(jobs=2_000), Options())
    arm_named("classic").check(sequence, sequence.load(jobs=2_001), Options())
    arm_named("delegated").check(fanout, fanout.load(jobs=10_000), Options())
    for arm in ("classic", "drop-in-worker"):
        with pytest.raises(ConfigurationError, match="2000 pending activities"):
            arm_named(arm).check(fanout, fanout.load(jobs=2_001), Options())


def test_large_payloads() -> None:
    """Payloads of activities that start together must fit into one message."""
    fanout, large = scenario_named("fanout"), Options(payload_bytes=20_000)
    arm_named("delegated").check(fanout, fanout.load(), large)
    arm_named("classic").check(fanout, fanout.load(jobs=100), large)
    with pytest.raises(ConfigurationError, match="--payload-bytes 20000: 200 jobs at once"):
        arm_named("classic").check(fanout, fanout.load(), large)


def test_unknown_names() -> None:
    with pytest.raises(ConfigurationError, match="single, fanout, sequence, sleep, burst, steady, backlog, mixed"):
        scenario_named("double")
    arms = "floor, local, classic, standalone, delegated, drop-in, drop-in-worker"
    with pytest.raises(ConfigurationError, match=arms):
        arm_named("modern")


def test_arms_listed() -> None:
    assert arms_listed("classic, delegated") == ["classic", "delegated"]
    for text in ("", "classic,classic", "classic,modern"):
        with pytest.raises(ConfigurationError):
            arms_listed(text)


def test_every_job_has_an_answer_of_its_own() -> None:
    works = [Work(workflow, 50, Pattern.AT_ONCE) for workflow in range(50)]
    numbers = [number for work in works for number in work.numbers()]
    assert len({answer(number) for number in numbers}) == len(numbers) == 2_500
    assert all(answer(number) < 2**53 for number in numbers)
    assert [place(number) for number in works[7].numbers()] == [(7, job) for job in range(50)]


def test_fold() -> None:
    """The answer of a workflow changes if an answer is lost, repeated or out of order."""
    work = Work(3, 4, Pattern.AT_ONCE)
    answers = [answer(number) for number in work.numbers()]
    assert fold(answers) == expected(work)
    assert len({fold(answers), fold(answers[::-1]), fold(answers[:-1]), fold([*answers, answers[-1]])}) == 4


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_the_yardsticks_alone_run_no_jobs(arm) -> None:
    work = Work(3, 4, Pattern.AT_ONCE)
    assert arm.expected(work) == (expected(work) if arm.runs_jobs else 3)
    assert arm.runs_jobs is (arm.name not in ("floor", "local"))


@pytest.mark.parametrize(
    ("arm", "standing", "job_workers"),
    [
        ("floor", ["Temporal worker"], []),
        ("local", ["Temporal worker"], []),
        ("classic", ["Temporal worker"], []),
        ("standalone", ["Temporal worker"], []),
        ("delegated", ["Temporal worker"], ["HTTP worker"]),
        ("drop-in", ["Temporal worker"], ["HTTP worker"]),
        ("drop-in-worker", ["Temporal worker", "delegator serve"], ["HTTP worker"]),
    ],
)
def test_worker_processes(arm: str, standing: list[str], job_workers: list[str]) -> None:
    processes = arm_named(arm).processes("queue")
    assert [worker.name for worker in processes.standing] == standing
    assert [worker.name for worker in processes.job_workers] == job_workers


@pytest.mark.parametrize("arm", [arm for arm in ARMS.values() if arm.runs_jobs], ids=lambda arm: arm.name)
def test_split_processes(arm) -> None:
    """For a backlog every arm runs jobs in processes of their own."""
    processes = arm.processes("queue", split=True)
    assert processes.job_workers
    assert not any("all" in worker.argv and not arm.plugin for worker in processes.standing)


def test_plain_jobs_have_the_lightest_input() -> None:
    assert work_of(1, 2, Pattern.AT_ONCE, Shape()).shape is None
    assert work_of(1, 2, Pattern.AT_ONCE, Shape(payload_bytes=1)).shape is not None


@pytest.mark.parametrize(
    ("scenario", "load", "words"),
    [
        ("single", {"rate": 5.0}, "--rate does not fit the scenario single, which is shaped by --workflows, --jobs, "),
        ("steady", {"workflows": 5}, "--workflows does not fit the scenario steady"),
        ("steady", {"concurrency": 5}, "--concurrency does not fit the scenario steady"),
        ("burst", {"concurrency": 5}, "--concurrency does not fit the scenario burst"),
        ("backlog", {"concurrency": 5}, "--concurrency does not fit the scenario backlog"),
        ("steady", {"rate": 0.0}, "--rate must be positive, not 0"),
        ("steady", {"rate": float("nan")}, "--rate must be positive"),
        ("steady", {"duration": -1.0}, "--duration must be positive, not -1"),
    ],
)
def test_a_load_must_fit_the_scenario(scenario: str, load: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        scenario_named(scenario).load(**load)


@pytest.mark.parametrize(
    ("scenario", "options", "words"),
    [
        ("single", {"sleep_ms": 5}, "--sleep-ms does not fit the scenario single, but sleep and mixed"),
        ("sleep", {"bursts": 5}, "--bursts does not fit the scenario sleep, but burst"),
        ("sleep", {"sleep_ms": -1}, "--sleep-ms must be from 0 to 45,000, not -1"),
        ("sleep", {"sleep_ms": 60_000}, "--sleep-ms must be from 0"),
        ("single", {"payload_bytes": 2_000_000}, "--payload-bytes must be from 0 to 1,900,000"),
        ("mixed", {"slow_percent": 50, "large_percent": 50}, "together are above 100"),
        ("burst", {"bursts": 0}, "--bursts must be from 1"),
        ("burst", {"pause": -1.0}, "--pause must be from 0"),
    ],
)
def test_options_must_fit_the_scenario(scenario: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        scenario_named(scenario).options(**options)


def test_default_options() -> None:
    """Every scenario accepts its own default options."""
    for scenario in SCENARIOS.values():
        scenario.check(scenario.load(), scenario.options())
        assert scenario.options() == scenario.defaults
        assert scenario.options(payload_bytes=7).payload_bytes == 7


def test_bursts_need_workflows() -> None:
    burst = scenario_named("burst")
    with pytest.raises(ConfigurationError, match="there are only 2 --workflows"):
        burst.check(burst.load(workflows=2), burst.options(bursts=3))


def test_the_floor_has_no_backlog() -> None:
    backlog = scenario_named("backlog")
    with pytest.raises(ConfigurationError, match="the arm floor has no jobs"):
        arm_named("floor").check(backlog, backlog.load(), backlog.options())


@pytest.mark.parametrize(
    ("asked", "workflows", "per_second"),
    [
        ({"rate": 100.0, "duration": 3.0}, 300, 100.0),
        ({"rate": 100.0, "duration": 3.0, "jobs": 4}, 75, 25.0),
        ({"rate": 0.1, "duration": 1.0}, 1, 0.1),
    ],
)
def test_rate(asked: dict[str, float], workflows: int, per_second: float) -> None:
    """Rate and duration give the number of workflows."""
    load = scenario_named("steady").load(**asked)
    assert (load.workflows, load.concurrency, load.workflow_rate) == (workflows, None, per_second)


def test_settings_are_what_shaped_the_run() -> None:
    mixed = scenario_named("mixed")
    assert set(mixed.settings(mixed.load(), mixed.options())) == {
        *("workflows", "jobs", "concurrency", "payload_bytes", "sleep_ms"),
        *("slow_percent", "large_percent", "large_bytes", "failing_percent"),
    }
    steady = scenario_named("steady")
    assert steady.settings(steady.load(rate=7), steady.options()) == {
        "rate": 7,
        "duration": 30,
        "jobs": 1,
        "payload_bytes": 0,
    }


def test_answer_of_payload() -> None:
    """The answer depends on every byte of the payload."""
    chores = Work(3, 40, Pattern.AT_ONCE, Shape(payload_bytes=500)).chores()
    assert {len(chore.payload) for chore in chores} == {500}
    assert len({chore.payload for chore in chores}) == 40
    broken = replace(chores[0], payload=chores[0].payload[:-1] + "?")
    assert answer_of(broken) != answer_of(chores[0])


def test_shares_of_mixed_jobs() -> None:
    shape = Shape(10, 70, slow_percent=20, large_bytes=1_000, large_percent=30, failing_percent=10)
    works = [Work(workflow, 100, Pattern.AT_ONCE, shape) for workflow in range(100)]
    chores = [chore for work in works for chore in work.chores()]
    assert sum(chore.sleep_ms == 70 for chore in chores) == pytest.approx(2_000, rel=0.1)
    assert sum(len(chore.payload) == 1_000 for chore in chores) == pytest.approx(3_000, rel=0.1)
    assert sum(chore.failures for chore in chores) == pytest.approx(1_000, rel=0.1)
    assert not any((chore.sleep_ms > 0) + (len(chore.payload) > 10) + chore.failures > 1 for chore in chores)
    assert [times for work in works for times in work.executions()] == [1 + chore.failures for chore in chores]
    assert expected(works[7]) == fold(map(answer_of, works[7].chores()))
