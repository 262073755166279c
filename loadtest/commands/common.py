"""What the sub-commands share: options, the event loop, checks, output."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
import uvloop
from rich.console import Console, RenderableType

from delegator.errors import ConfigurationError
from delegator.runtime.shutdown import cancelled_by_signals
from loadtest.runs.plan import Plan
from loadtest.servers.stack import TemporalChoice
from loadtest.workload.options import OPTION_NAMES
from loadtest.workload.scenarios import SCENARIOS, scenario_named

T = TypeVar("T")
_STDOUT: Final = Path("-")

ScenarioOption = Annotated[str, typer.Option(help=f"What a workflow does: {', '.join(SCENARIOS)}.")]
WorkflowsOption = Annotated[int | None, typer.Option(help="Workflows in the measured window.")]
JobsOption = Annotated[int | None, typer.Option(help="Jobs of a workflow.")]
ConcurrencyOption = Annotated[int | None, typer.Option(help="Workflows in flight.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds after which a workflow has failed.")]
RateOption = Annotated[float | None, typer.Option(help="Jobs that should begin in a second (steady).")]
DurationOption = Annotated[
    float | None, typer.Option(help="Seconds for which workflows are started at the rate (steady).")
]
PayloadBytesOption = Annotated[int | None, typer.Option(help="Payload of every job.")]
SleepMsOption = Annotated[int | None, typer.Option(help="How long a job, or a slow one, waits (sleep, mixed).")]
SlowPercentOption = Annotated[int | None, typer.Option(help="Share of slow jobs (mixed).")]
LargeBytesOption = Annotated[int | None, typer.Option(help="Payload of a large job (mixed).")]
LargePercentOption = Annotated[int | None, typer.Option(help="Share of large jobs (mixed).")]
FailingPercentOption = Annotated[int | None, typer.Option(help="Share of jobs that fail once (mixed).")]
BurstsOption = Annotated[
    int | None, typer.Option(help="Number of bursts that the workflows are shared out to (burst).")
]
PauseOption = Annotated[float | None, typer.Option(help="Seconds between two bursts (burst).")]
TemporalOption = Annotated[
    TemporalChoice | None, typer.Option(help="Temporal of the embedded stack: the dev server, or the real one.")
]
SharedOption = Annotated[bool, typer.Option("--shared", help="Run even if the servers have other work.")]
StatementsOption = Annotated[
    bool, typer.Option("--statements", help="Count the SQL statements of the PostgreSQL servers (pg_stat_statements).")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the numbers here; - for stdout.")]


def plan_of(arm: str, given: Mapping[str, Any], *, reference: bool) -> Plan:
    """Return the run that the command line asks for.

    Args:
        arm: the arm.
        given: the options by name; None if not given, which `scenario` and `timeout` always are.
        reference: whether missing options get the arm's own defaults; False: those for all arms.

    Raises:
        ConfigurationError: an option does not fit the scenario or the arm.
    """
    scenario = scenario_named(given["scenario"])
    shape = {name: given[name] for name in ("workflows", "jobs", "concurrency", "rate", "duration")}
    plan = Plan(
        arm=arm,
        scenario=scenario.name,
        load=scenario.load(arm if reference else None, **shape),
        timeout=positive_seconds("--timeout", given["timeout"]),
        options=scenario.options(**{name: given[name] for name in OPTION_NAMES}),
    )
    plan.check()
    return plan


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on uvloop. SIGTERM ends it as Ctrl-C does, so that no process is left behind."""

    async def guarded() -> T:
        async with cancelled_by_signals(again=False):  # a second signal must not end the cleanup
            return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(guarded())


def positive_seconds(option: str, value: float) -> timedelta:
    """Read a number of seconds.

    Raises:
        ConfigurationError: it is not positive.
    """
    if value <= 0:
        raise ConfigurationError(f"{option} must be positive, not {value:g}")
    return timedelta(seconds=value)


def check_rounds(rounds: int) -> None:
    """Refuse a number of rounds below 1.

    Raises:
        ConfigurationError: it is below 1.
    """
    if rounds < 1:
        raise ConfigurationError(f"--rounds must be at least 1, not {rounds}")


def check_writable(path: Path | None) -> None:
    """Check before a run that its numbers can be written after it.

    Raises:
        ConfigurationError: the file can't be written.
    """
    if path is None or path == _STDOUT:
        return
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ConfigurationError(f"--json: can't write {path}: {error.strerror}") from None


def show(shown: RenderableType, numbers: Mapping[str, Any], json_file: Path | None) -> None:
    """Print a table for people and write the numbers to a file; with `-` print only the numbers.

    Args:
        shown: the table.
        numbers: the JSON object.
        json_file: the file; `-`: stdout; None: write no numbers.
    """
    text = json.dumps(numbers, indent=2)
    if json_file == _STDOUT:
        print(text)
        return
    Console().print(shown)
    if json_file is not None:
        json_file.write_text(text + "\n", encoding="utf-8")
