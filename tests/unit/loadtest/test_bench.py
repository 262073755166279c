"""Figures and verdicts of `make bench`."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from loadtest.bench.experiments import EXPERIMENTS, Experiment
from loadtest.bench.figures import LINES, Figure, Line, Results, Verdict
from loadtest.cli import build_app
from loadtest.commands import bench_idle
from loadtest.commands.bench_idle import read_results
from loadtest.terminal.verdict_table import bench_table, number


def _line(measure: str) -> Line:
    (line,) = [line for line in LINES if line.measure == measure]
    return line


class _Asked(dict[str, Any]):
    """Records which experiments are read."""

    def __missing__(self, name: str) -> Any:
        assert name in EXPERIMENTS, f"no experiment {name}"
        raise KeyError(name)


def _runs(path: Sequence[str], **arms: Sequence[float | None]) -> Any:
    """Return the numbers of an experiment: for each arm one number a round."""

    def run(arm: str, value: Any) -> dict[str, Any]:
        for key in reversed(path):
            value = {key: value}
        return {"arm": arm, **value}

    return {"runs": [run(arm, value) for arm, values in arms.items() for value in values]}


def _single(ratio: float | None) -> Results:
    return {"single": _runs(["workflows_per_s"], classic=[50.0], delegated=[ratio and ratio * 50])}


def test_every_line_rests_on_an_experiment() -> None:
    for line in LINES:
        assert line.judge(_Asked()) == (None, Verdict.NOT_RUN)
        assert (line.stretch >= line.must) if line.at_least else (line.stretch <= line.must)


@pytest.mark.parametrize(("ratio", "verdict"), [(1.19, Verdict.MISSED), (1.2, Verdict.REACHED), (1.4, Verdict.STRETCH)])
def test_more_is_better_for_throughput(ratio: float, verdict: Verdict) -> None:
    line = _line("single, 150 in flight: delegated / classic, workflows/s")
    assert line.judge(_single(ratio)) == (Figure(ratio, ratio, ratio), verdict)


@pytest.mark.parametrize(
    ("percent", "verdict"), [(1.1, Verdict.MISSED), (1.0, Verdict.REACHED), (0.4, Verdict.STRETCH)]
)
def test_less_is_better_for_costs(percent: float, verdict: Verdict) -> None:
    assert _line("idle worker").judge({"idle": {"worker_percent": percent}}) == (
        Figure(percent, percent, percent),
        verdict,
    )


def test_drain_rate() -> None:
    """A large backlog is compared with small ones that ran before it and after it."""
    rates = {"backlog-before": 30_000.0, "backlog": 18_000.0, "backlog-after": 10_000.0}
    results = {name: _runs(["jobs_per_s"], delegator=[rate]) for name, rate in rates.items()}
    line = _line("backlog of 1,000,000: drain rate / that of 10,000")
    assert line.judge(results) == (Figure(0.9, 0.9, 0.9), Verdict.STRETCH)


def test_ratios_of_rounds() -> None:
    """Numbers are divided round by round; the figure is the median."""
    path = ["costs", "persistence_operations"]
    runs = _runs(path, classic=[1_000, 1_000, 4_000], floor=[1, 1, 1], delegated=[30, 90, 40])
    line = _line("Temporal persistence operations, delegated / classic: fanout 10 x 200")
    assert line.judge({"fanout": runs}) == (Figure(0.03, 0.01, 0.09), Verdict.REACHED)
    assert line.judge({"fanout": {"runs": []}}) == (None, Verdict.NOT_RUN)


def test_worst_of_several() -> None:
    """The worst of several ratios is the one with the lowest median."""
    results = {
        name: _runs(["workflows_per_s"], delegated=[50.0] * 3, **{"drop-in": rates})
        for name, rates in (("single", [20.0, 49.0, 50.0]), ("sequence", [40.0, 45.0, 50.0]))
    }
    results |= {
        name: _runs(["jobs_per_s"], gathered=[50.0], **{"drop-in": [60.0]}) for name in ("fanout-long", "ten-thousand")
    }
    results["one"] = _runs(["latency_ms", "p50"], delegated=[10.0], **{"drop-in": [10.0]})
    line = _line("drop-in by interceptor / delegate: the worst of single, sequence, fanout")
    assert line.judge(results) == (Figure(0.9, 0.8, 1.0), Verdict.REACHED)


def test_failed_work(tmp_path: Path) -> None:
    """Numbers of an experiment with failed work do not count."""
    good = {"arms": {"a": {"failed": 0}}, "spread": {"a": {"failed": [0, 0]}}, "runs": [{"failed": 0}]}
    bad = good | {"runs": [{"failed": 0}, {"failed": 2}]}
    for name, numbers in (("single", good), ("one", bad), ("peers", {"bulk": bad})):
        (tmp_path / f"{name}.json").write_text(json.dumps(numbers), encoding="utf-8")
    (tmp_path / "idle.json").write_text("{", encoding="utf-8")
    assert read_results(tmp_path) == ({"single": good}, ["one", "peers"])


def test_counted_statements(tmp_path: Path) -> None:
    """Numbers that were measured with --statements are not judged beside numbers without it."""
    plain = {"runs": [{"failed": 0, "settings": {}}]}
    counting = {"runs": [{"failed": 0, "settings": {"statements": True}}]}
    for name, numbers in (("single", plain), ("fanout", counting), ("bulk", plain)):
        (tmp_path / f"{name}.json").write_text(json.dumps(numbers), encoding="utf-8")
    assert read_results(tmp_path) == ({"single": plain, "bulk": plain}, [])
    assert read_results(tmp_path, statements=True) == ({"fanout": counting, "bulk": plain}, [])
    assert EXPERIMENTS["single"].arguments(3, statements=True)[-1] == "--statements"
    assert "--statements" not in EXPERIMENTS["single"].arguments(3)
    assert "--statements" not in EXPERIMENTS["bulk"].arguments(3, statements=True)


def test_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An experiment without numbers is a failure, even if an older run left some."""
    broken = Experiment("single", "compare --scenario nonsense")
    lacking = Experiment("one", "compare --scenario nonsense", lambda: "a thing")
    # This one creates its file before it finds that its servers do not answer.
    begun = Experiment("fanout", "run --arm delegated --scenario fanout")
    monkeypatch.setattr(bench_idle, "EXPERIMENTS", {"single": broken, "one": lacking, "fanout": begun})
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("DELEGATOR_DATABASE_URL", raising=False)
    for name in ("single", "one", "fanout"):
        (tmp_path / f"{name}.json").write_text("{}", encoding="utf-8")
    with pytest.raises(typer.Exit) as end:
        bench_idle.bench(out=tmp_path, only="single,one,fanout", rounds=1)
    assert end.value.exit_code == 1
    shown = capsys.readouterr().out
    assert "single: gave no numbers (exit code 2)" in shown
    assert "fanout: gave no numbers (exit code 2)" in shown
    assert "one: left out, because it needs: a thing" in shown
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("fanout.json", "")]


async def test_interrupted_experiment(tmp_path: Path) -> None:
    """An interrupted experiment gets the time to clean up."""
    program = (
        "import pathlib, signal, sys, time\n"
        "def clean(*_):\n"
        "    time.sleep(0.3)\n"
        "    pathlib.Path(sys.argv[1], 'cleaned').touch()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, clean)\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "time.sleep(30)\n"
    )
    child = asyncio.create_task(bench_idle.run_child([sys.executable, "-c", program, str(tmp_path)]))
    while not (tmp_path / "ready").exists():
        await asyncio.sleep(0.01)
    child.cancel()
    with pytest.raises(asyncio.CancelledError):
        await child
    assert (tmp_path / "cleaned").exists()


def test_what_can_not_be_divided_has_not_run() -> None:
    line = _line("single, 150 in flight: delegated / classic, workflows/s")
    assert line.judge(_single(None)) == (None, Verdict.NOT_RUN)


def test_the_table_says_so() -> None:
    shown = io.StringIO()
    Console(file=shown, width=160).print(bench_table(LINES, {"idle": {"worker_percent": 7.0}}))
    lines = shown.getvalue().splitlines()
    assert any("idle worker" in line and "7 %" in line and "not reached" in line for line in lines)
    assert sum("not run" in line for line in lines) == len(LINES) - 1


def test_table_shows_rounds() -> None:
    """The table shows the lowest and the highest round."""
    shown = io.StringIO()
    runs = _runs(["jobs_per_s"], delegated=[9_000.0, 16_000.0, 12_000.0])
    Console(file=shown, width=160).print(bench_table(LINES, {"ten-thousand": runs}))
    (line,) = [line for line in shown.getvalue().splitlines() if "10,000 jobs " in line and "jobs/s" in line]
    assert "12,000 jobs/s" in line
    assert "9,000..16,000" in line


def test_experiments_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Every experiment is a command that the load test has."""
    for experiment in EXPERIMENTS.values():
        command, *options = experiment.arguments(3)
        build_app()([command, "--help"], standalone_mode=False)
        known = capsys.readouterr().out
        assert all(option.removeprefix("--no-") in known for option in options if option.startswith("--"))


def test_bounds_in_docs() -> None:
    """The benchmark page has every line of the bench, with its bounds."""
    text = (Path(__file__).parents[3] / "docs/benchmarks.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("| ")]
    said = {row[0]: row[-3:-1] for row in rows}
    for line in LINES:
        sign = "≥" if line.at_least else "≤"
        assert said[line.measure] == [f"{sign} {number(line.must)}", f"{sign} {number(line.stretch)}"]
