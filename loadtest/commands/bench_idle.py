"""The commands `bench` and `idle`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from delegator.errors import ConfigurationError
from delegator.runtime.child_processes import send_signal
from loadtest.arms.base import HTTP_CONCURRENCY, http_worker
from loadtest.bench.experiments import EXPERIMENTS, Experiment
from loadtest.bench.figures import LINES, Verdict
from loadtest.commands.common import (
    JsonOption,
    SharedOption,
    StatementsOption,
    check_rounds,
    check_writable,
    positive_seconds,
    run_loop,
    show,
)
from loadtest.meters.cost_meter import CostMeter, CostSources
from loadtest.servers.crew import crew
from loadtest.servers.guard import undisturbed_servers
from loadtest.terminal.verdict_table import bench_table

_WIDTH: Final = 120
_SETTLING: Final = 5.0  # seconds, in which a started worker comes to rest
_WORKER: Final = "HTTP worker"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("bench")(bench)
    app.command("idle")(idle)


def bench(
    out: Annotated[Path, typer.Option(help="Directory for the numbers, one JSON file an experiment.")] = Path(".bench"),
    only: Annotated[
        str,
        typer.Option(
            help=f"Experiments to run, of {', '.join(EXPERIMENTS)}; files of the others are read if they exist."
        ),
    ] = ",".join(EXPERIMENTS),
    rounds: Annotated[int, typer.Option(help="Runs of each arm.")] = 5,
    statements: StatementsOption = False,
) -> None:
    """Measure all figures that this project promises, and show which ones are reached."""
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

    problems = run_loop(_run_all([EXPERIMENTS[name] for name in names], out, rounds, say, statements=statements))
    results, spoiled = read_results(out, statements=statements)
    console.print(bench_table(LINES, results))
    problems += [f"{name}: jobs failed, so its numbers don't count; they are in {out / name}.json" for name in spoiled]
    for problem in problems:
        say(problem)
    if problems or any(line.judge(results)[1] is Verdict.MISSED for line in LINES):
        raise typer.Exit(1)


async def _run_all(
    experiments: Sequence[Experiment], out: Path, rounds: int, say: Callable[[str], None], *, statements: bool
) -> list[str]:
    """Run experiments in turn and return what went wrong."""
    problems = []
    for experiment in experiments:
        target = out / f"{experiment.name}.json"
        target.unlink(missing_ok=True)
        lacking = experiment.lacking()
        if lacking is not None:
            say(f"{experiment.name}: left out, because it needs: {lacking}")
            continue
        arguments = experiment.arguments(rounds, statements=statements)
        say(f"loadtest {' '.join(arguments)}   (load average {os.getloadavg()[0]:.1f})")
        began = time.monotonic()
        code = await run_child([sys.executable, "-m", "loadtest", *arguments, "--json", str(target)])
        say(f"{experiment.name}: {time.monotonic() - began:.0f} s")
        if _numbers(target) is None:
            problems.append(f"{experiment.name}: gave no numbers (exit code {code})")
    return problems


async def run_child(argv: Sequence[str]) -> int:
    """Run a program and return its exit code. If cancelled, stop the program with SIGTERM and wait for its end.

    Args:
        argv: the program and its arguments. It writes to our output.
    """
    # The child gets a session of its own. Otherwise a Ctrl-C in the terminal would reach it beside our signal, and
    # a second signal ends the cleanup that the first one began.
    started = asyncio.ensure_future(
        asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
    )
    try:
        # A cancelled start would kill a program that runs already.
        return await (await asyncio.shield(started)).wait()
    except asyncio.CancelledError:
        child = await started
        send_signal(child, signal.SIGTERM)
        await child.wait()
        raise


def read_results(out: Path, *, statements: bool = False) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Return the numbers found, by experiment, and the experiments whose numbers don't count.

    Args:
        out: the directory.
        statements: whether SQL statements were counted. Numbers that were measured the other way are left out.
    """
    results: dict[str, Any] = {}
    spoiled = []
    for name in EXPERIMENTS:
        numbers = _numbers(out / f"{name}.json")
        if numbers is None or (EXPERIMENTS[name].compares_arms and _counted_statements(numbers) != statements):
            continue
        if _failures(numbers):
            spoiled.append(name)
        else:
            results[name] = numbers
    return results, spoiled


def _numbers(path: Path) -> Any:
    """Return the numbers in a file; None: it does not exist, or is still empty as a run creates it at its start."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _counted_statements(numbers: Any) -> bool:
    """Return whether the runs of an experiment counted SQL statements."""
    return any(run.get("settings", {}).get("statements") is True for run in numbers.get("runs", ()))


def _failures(numbers: Any) -> bool:
    """Return whether work failed in any run of an experiment."""
    if isinstance(numbers, dict):
        failed = numbers.get("failed")  # a count; the spread has a pair of counts instead
        return (isinstance(failed, int) and failed > 0) or any(map(_failures, numbers.values()))
    return isinstance(numbers, list) and any(map(_failures, numbers))


def _listed(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not set(names) <= set(EXPERIMENTS):
        raise ConfigurationError(f"--only {only}: name some of {', '.join(EXPERIMENTS)}")
    return names


def idle(
    seconds: Annotated[float, typer.Option(help="How long to look.")] = 30,
    shared: SharedOption = False,
    json_file: JsonOption = None,
) -> None:
    """Measure the processor time of a worker with nothing to do."""
    length = positive_seconds("--seconds", seconds).total_seconds()
    check_writable(json_file)
    numbers = run_loop(_measure(length, shared=shared))
    show(_table(numbers), numbers, json_file)


async def _measure(seconds: float, *, shared: bool) -> dict[str, Any]:
    async with undisturbed_servers(delegates=True, shared=shared) as available:
        with TemporaryDirectory(prefix="loadtest-logs-") as logs:
            async with crew([http_worker()], environment=available.environment, directory=Path(logs)) as workers:
                await asyncio.sleep(_SETTLING)
                sources = CostSources(processes={**available.processes, **workers.pids})
                async with CostMeter(sources) as meter:
                    await asyncio.sleep(seconds)
    shares = {name: cost.cpu_s * 100 / seconds for name, cost in meter.costs.processes.items()}
    return {
        "seconds": seconds,
        "concurrency": HTTP_CONCURRENCY,
        "worker_percent": round(shares[_WORKER], 3),
        "percent": {name: round(share, 3) for name, share in shares.items()},
    }


def _table(numbers: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left")
    table.title = f"Nothing to do for {numbers['seconds']:g} s"
    table.add_column("process")
    table.add_column("% of a core", justify="right")
    for name, share in numbers["percent"].items():
        table.add_row(name, f"{share:.2f}")
    return table
