"""Figures and verdicts of `make bench`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from loadtest.bench.experiments import EXPERIMENTS
from loadtest.bench.lines import LINES, Line, Results, Verdict
from loadtest.bench.table import bench_table
from loadtest.cli import build_app


def _line(measure: str) -> Line:
    (line,) = [line for line in LINES if line.measure == measure]
    return line


class _Asked(dict[str, Any]):
    """Notes which experiments are asked for."""

    def __missing__(self, name: str) -> Any:
        assert name in EXPERIMENTS, f"no experiment {name}"
        raise KeyError(name)


def _single(ratio: float | None) -> Results:
    return {"single": {"ratios": {"delegated/classic": {"workflows_per_s": ratio}}}}


def test_every_line_rests_on_an_experiment() -> None:
    for line in LINES:
        assert line.judge(_Asked()) == (None, Verdict.NOT_RUN)
        assert (line.stretch >= line.must) if line.at_least else (line.stretch <= line.must)


@pytest.mark.parametrize(("ratio", "verdict"), [(1.19, Verdict.MISSED), (1.2, Verdict.REACHED), (1.4, Verdict.STRETCH)])
def test_more_is_better_for_throughput(ratio: float, verdict: Verdict) -> None:
    line = _line("single, 150 in flight: delegated / classic, workflows/s")
    assert line.judge(_single(ratio)) == (ratio, verdict)


@pytest.mark.parametrize(
    ("percent", "verdict"), [(1.1, Verdict.MISSED), (1.0, Verdict.REACHED), (0.4, Verdict.STRETCH)]
)
def test_less_is_better_for_costs(percent: float, verdict: Verdict) -> None:
    assert _line("idle worker").judge({"idle": {"worker_percent": percent}}) == (percent, verdict)


def test_a_large_backlog_is_compared_with_small_ones_before_and_after_it() -> None:
    rates = {"backlog-before": 30_000.0, "backlog": 18_000.0, "backlog-after": 10_000.0}
    results = {name: {"arms": {"delegator": {"jobs_per_s": rate}}} for name, rate in rates.items()}
    line = _line("backlog of 1,000,000: drain rate / that of 10,000")
    assert line.judge(results) == (0.9, Verdict.STRETCH)


def test_what_can_not_be_divided_has_not_run() -> None:
    line = _line("single, 150 in flight: delegated / classic, workflows/s")
    assert line.judge(_single(None)) == (None, Verdict.NOT_RUN)


def test_the_table_says_so() -> None:
    shown = io.StringIO()
    Console(file=shown, width=160).print(bench_table(LINES, {"idle": {"worker_percent": 7.0}}))
    lines = shown.getvalue().splitlines()
    assert any("idle worker" in line and "7 %" in line and "not reached" in line for line in lines)
    assert sum("not run" in line for line in lines) == len(LINES) - 1


def test_every_experiment_is_a_command_of_the_load_test(capsys: pytest.CaptureFixture[str]) -> None:
    for experiment in EXPERIMENTS.values():
        command, *options = experiment.arguments(3)
        build_app()([command, "--help"], standalone_mode=False)
        known = capsys.readouterr().out
        assert all(option.removeprefix("--no-") in known for option in options if option.startswith("--"))
