"""`loadtest bench`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from delegator.errors import ConfigurationError
from loadtest.bench.experiments import EXPERIMENTS, Experiment
from loadtest.bench.lines import LINES, Verdict
from loadtest.bench.table import bench_table
from loadtest.bulk.command import check_rounds
from loadtest.commands.common import run_loop

_WIDTH: Final = 120


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    out: Annotated[Path, typer.Option(help="Directory for the numbers, one JSON file an experiment.")] = Path(".bench"),
    only: Annotated[
        str, typer.Option(help=f"Experiments to run, of {', '.join(EXPERIMENTS)}; others' files are read if there.")
    ] = ",".join(EXPERIMENTS),
    rounds: Annotated[int, typer.Option(help="Runs of each arm.")] = 5,
) -> None:
    """Measure all that this project promises, and say for each figure whether it is reached."""
    names = _listed(only)
    check_rounds(rounds)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out: can't make the directory {out}: {error.strerror}") from None
    console = Console()
    console = Console(width=max(console.width, _WIDTH))

    def say(text: str) -> None:
        console.print(text, markup=False)

    problems = run_loop(_run_all([EXPERIMENTS[name] for name in names], out, rounds, say))
    results, spoiled = read_results(out)
    console.print(bench_table(LINES, results))
    problems += [f"{name}: jobs failed, so its numbers don't count; they are in {out / name}.json" for name in spoiled]
    for problem in problems:
        say(problem)
    if problems or any(line.judge(results)[1] is Verdict.MISSED for line in LINES):
        raise typer.Exit(1)


async def _run_all(experiments: Sequence[Experiment], out: Path, rounds: int, say: Callable[[str], None]) -> list[str]:
    """Run experiments in turn and return what went wrong."""
    problems = []
    for experiment in experiments:
        target = out / f"{experiment.name}.json"
        target.unlink(missing_ok=True)
        lacking = experiment.lacking()
        if lacking is not None:
            say(f"{experiment.name}: left out; it needs: {lacking}")
            continue
        arguments = experiment.arguments(rounds)
        say(f"loadtest {' '.join(arguments)}   (load average {os.getloadavg()[0]:.1f})")
        began = time.monotonic()
        code = await run_child([sys.executable, "-m", "loadtest", *arguments, "--json", str(target)])
        say(f"{experiment.name}: {time.monotonic() - began:.0f} s")
        if _numbers(target) is None:
            problems.append(f"{experiment.name}: gave no numbers (exit code {code})")
    return problems


async def run_child(argv: Sequence[str]) -> int:
    """Run a program to its end and return its exit code; cancelled, let it end in good order first.

    Args:
        argv: the program and its arguments; its output is ours.
    """
    # In a session of its own: a terminal's Ctrl-C would reach it beside our signal, and a second one breaks off
    # the cleaning up that the first began.
    child = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
    try:
        return await child.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            child.terminate()
        await child.wait()
        raise


def read_results(out: Path) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Return the numbers that are there, by experiment, and the experiments whose numbers don't count.

    Args:
        out: the directory.
    """
    results: dict[str, Any] = {}
    spoiled = []
    for name in EXPERIMENTS:
        numbers = _numbers(out / f"{name}.json")
        if numbers is None:
            continue
        if _failures(numbers):
            spoiled.append(name)
        else:
            results[name] = numbers
    return results, spoiled


def _numbers(path: Path) -> Any:
    """Return the numbers in a file; None: there is none, or only the empty one that a run makes before it begins."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _failures(numbers: Any) -> bool:
    """Return whether any run in an experiment's numbers had work that failed."""
    if isinstance(numbers, dict):
        failed = numbers.get("failed")  # a count; in the spread, a pair of them
        return (isinstance(failed, int) and failed > 0) or any(map(_failures, numbers.values()))
    return isinstance(numbers, list) and any(map(_failures, numbers))


def _listed(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not set(names) <= set(EXPERIMENTS):
        raise ConfigurationError(f"--only {only}: name some of {', '.join(EXPERIMENTS)}")
    return names
