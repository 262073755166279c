"""The command line: `python -m loadtest run|compare|demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from delegator.errors import ConfigurationError, DelegatorError, DependencyError
from loadtest.arms import ARMS, arm_named
from loadtest.compare import arms_listed
from loadtest.compare import compare as compare_arms
from loadtest.demo import demo as run_demo
from loadtest.measure import Comparison, RunResult
from loadtest.report.progress import progress_bar
from loadtest.report.table import comparison_table, run_table
from loadtest.runner import Plan
from loadtest.runner import run as run_arm
from loadtest.scenarios import SCENARIOS, scenario_named
from loadtest.stack import servers

T = TypeVar("T")
_STDOUT = Path("-")

app = typer.Typer(
    help="Measure delegated jobs against ordinary activities.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_Scenario = Annotated[str, typer.Option(help=f"What a workflow does: {', '.join(SCENARIOS)}.")]
_Workflows = Annotated[int | None, typer.Option(help="Workflows in the measured window.")]
_Jobs = Annotated[int | None, typer.Option(help="Jobs of a workflow.")]
_Concurrency = Annotated[int | None, typer.Option(help="Workflows in flight.")]
_Timeout = Annotated[float, typer.Option(help="Seconds after which a workflow has failed.")]
_Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers here; - for stdout.")]


@app.command()
def run(
    arm: Annotated[str, typer.Option(help=f"Which way: {', '.join(ARMS)}.")],
    scenario: _Scenario,
    workflows: _Workflows = None,
    jobs: _Jobs = None,
    concurrency: _Concurrency = None,
    timeout: _Timeout = 300,
    json_file: _Json = None,
) -> None:
    """Run one arm once."""
    plan = Plan(
        arm=arm_named(arm).name,
        scenario=scenario,
        load=scenario_named(scenario).load(arm, workflows=workflows, jobs=jobs, concurrency=concurrency),
        timeout=_seconds(timeout),
    )
    plan.check()
    _check_writable(json_file)

    async def work() -> RunResult:
        with progress_bar() as progress:
            async with servers(delegates=arm_named(arm).delegates) as environment:
                return await run_arm(plan, environment, progress)

    result = _run(work())
    _show(run_table(result), result.to_json(), json_file)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def compare(
    scenario: _Scenario,
    arms: Annotated[str, typer.Option(help="Arms, comma-separated; ratios are to the first.")] = "classic,delegated",
    workflows: _Workflows = None,
    jobs: _Jobs = None,
    concurrency: _Concurrency = None,
    rounds: Annotated[int, typer.Option(help="Runs of each arm.")] = 3,
    timeout: _Timeout = 300,
    json_file: _Json = None,
) -> None:
    """Run several arms in turn on the same load; print medians and ratios."""
    names = arms_listed(arms)
    if rounds < 1:
        raise ConfigurationError(f"--rounds must be at least 1, not {rounds}")
    load = scenario_named(scenario).load(workflows=workflows, jobs=jobs, concurrency=concurrency)
    plan = Plan(arm=names[0], scenario=scenario, load=load, timeout=_seconds(timeout))
    for name in names:
        Plan(arm=name, scenario=scenario, load=load).check()
    _check_writable(json_file)

    async def work() -> Comparison:
        with progress_bar() as progress:
            async with servers(delegates=any(arm_named(name).delegates for name in names)) as environment:
                return await compare_arms(names, plan, rounds, environment, progress)

    comparison = _run(work())
    _show(comparison_table([comparison], names[0]), comparison.to_json(), json_file)
    if comparison.failed:
        raise typer.Exit(1)


@app.command()
def demo() -> None:
    """Show it all on this machine: the first example, then floor, classic and delegated side by side."""
    if not _run(run_demo(Console())):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line: 0 all is well, 1 something failed, 2 it can't be run, 130 interrupted."""
    sys.exit(_outcome())


def _outcome() -> int:
    try:
        code = app(prog_name="loadtest", standalone_mode=False)
    except DelegatorError as error:
        return _complain(error, 2 if isinstance(error, ConfigurationError | DependencyError) else 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except Exception as error:
        if isinstance(error, typer.BadParameter.__bases__):  # the parser's errors; typer has no public name for all
            return _complain(error, 2)
        raise
    return code if isinstance(code, int) else 0


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop; SIGTERM ends it as Ctrl-C does, so that no process stays behind."""

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(guarded())


def _seconds(timeout: float) -> timedelta:
    if timeout <= 0:
        raise ConfigurationError(f"--timeout must be positive, not {timeout:g}")
    return timedelta(seconds=timeout)


def _check_writable(path: Path | None) -> None:
    """Find out before the run, not after it."""
    if path is None or path == _STDOUT:
        return
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ConfigurationError(f"--json: can't write {path}: {error.strerror}") from None


def _show(table: Table, numbers: dict[str, Any], json_file: Path | None) -> None:
    text = json.dumps(numbers, indent=2)
    if json_file == _STDOUT:
        print(text)
        return
    Console().print(table)
    if json_file is not None:
        json_file.write_text(text + "\n", encoding="utf-8")


def _complain(error: object, code: int) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"loadtest: {message}", file=sys.stderr)
    return code
