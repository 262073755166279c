"""`loadtest bench`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from delegator.errors import ConfigurationError
from loadtest.bench.experiments import EXPERIMENTS, Experiment
from loadtest.bench.lines import LINES, Verdict
from loadtest.bench.table import bench_table
from loadtest.bulk.command import check_rounds

_WIDTH: Final = 120
_FAILED: Final = 1  # some job or workflow went wrong; the numbers of the others stand


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
    for name in names:
        _run(EXPERIMENTS[name], out, rounds, console)
    results = _read(out)
    console.print(bench_table(LINES, results))
    if any(line.judge(results)[1] is Verdict.MISSED for line in LINES):
        raise typer.Exit(1)


def _run(experiment: Experiment, out: Path, rounds: int, console: Console) -> None:
    lacking = experiment.lacking()
    if lacking is not None:
        console.print(f"{experiment.name}: left out; it needs: {lacking}", markup=False)
        return
    arguments = experiment.arguments(rounds)
    console.print(f"loadtest {' '.join(arguments)}   (load average {os.getloadavg()[0]:.1f})", markup=False)
    target = out / f"{experiment.name}.json"
    target.unlink(missing_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "loadtest", *arguments, "--json", str(target)]
    outcome = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    console.print(f"{experiment.name}: {time.monotonic() - began:.0f} s", markup=False)
    if outcome.returncode not in (0, _FAILED):
        console.print(f"{experiment.name}: gave no numbers (exit code {outcome.returncode})", markup=False)


def _read(out: Path) -> Mapping[str, Any]:
    results = {}
    for name in EXPERIMENTS:
        path = out / f"{name}.json"
        try:
            results[name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except ValueError:
            continue  # an experiment that was broken off before it wrote its numbers
    return results


def _listed(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not set(names) <= set(EXPERIMENTS):
        raise ConfigurationError(f"--only {only}: name some of {', '.join(EXPERIMENTS)}")
    return names
