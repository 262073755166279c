from __future__ import annotations

import pytest

from delegator.errors import ConfigurationError
from loadtest.arms import ARMS, arm_named
from loadtest.compare import arms_listed
from loadtest.scenarios import SCENARIOS, Load, Pattern, scenario_named
from loadtest.work import Work, answer, expected, fold


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
    arm_named("classic").check(fanout, fanout.load(jobs=2_000))
    arm_named("classic").check(sequence, sequence.load(jobs=2_001))
    arm_named("delegated").check(fanout, fanout.load(jobs=10_000))
    with pytest.raises(ConfigurationError, match="2000 pending activities"):
        arm_named("classic").check(fanout, fanout.load(jobs=2_001))


def test_unknown_names() -> None:
    with pytest.raises(ConfigurationError, match="single, fanout, sequence"):
        scenario_named("double")
    with pytest.raises(ConfigurationError, match="floor, classic, standalone, delegated, drop-in"):
        arm_named("modern")


def test_arms_listed() -> None:
    assert arms_listed("classic, delegated") == ["classic", "delegated"]
    for text in ("", "classic,classic", "classic,modern"):
        with pytest.raises(ConfigurationError):
            arms_listed(text)


def test_every_job_has_an_answer_of_its_own() -> None:
    pieces = [piece for workflow in range(50) for piece in Work(workflow, 50, Pattern.AT_ONCE).pieces()]
    assert len({answer(piece) for piece in pieces}) == len(pieces) == 2_500
    assert all(answer(piece) < 2**53 for piece in pieces)


def test_the_fold_sees_order_loss_and_repetition() -> None:
    work = Work(3, 4, Pattern.AT_ONCE)
    answers = [answer(piece) for piece in work.pieces()]
    assert fold(answers) == expected(work)
    assert len({fold(answers), fold(answers[::-1]), fold(answers[:-1]), fold([*answers, answers[-1]])}) == 4


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_the_floor_alone_runs_no_jobs(arm) -> None:
    work = Work(3, 4, Pattern.AT_ONCE)
    assert arm.expected(work) == (expected(work) if arm.runs_jobs else 3)
    assert arm.runs_jobs is (arm.name != "floor")
    assert len(arm.commands("queue")) == (2 if arm.delegates else 1)
