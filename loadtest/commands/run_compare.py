"""The commands `run` and `compare`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from loadtest.arms import ARMS, arm_named
from loadtest.commands.common import (
    BurstsOption,
    ConcurrencyOption,
    DurationOption,
    FailingPercentOption,
    JobsOption,
    JsonOption,
    LargeBytesOption,
    LargePercentOption,
    PauseOption,
    PayloadBytesOption,
    RateOption,
    ScenarioOption,
    SharedOption,
    SleepMsOption,
    SlowPercentOption,
    StatementsOption,
    TemporalOption,
    TimeoutOption,
    WorkflowsOption,
    check_rounds,
    check_writable,
    plan_of,
    run_loop,
    show,
)
from loadtest.results.comparison import Comparison
from loadtest.results.run_result import RunResult
from loadtest.runs.arm_rounds import arms_listed
from loadtest.runs.arm_rounds import compare as compare_arms
from loadtest.runs.arm_run import run as run_arm
from loadtest.servers.guard import undisturbed_servers
from loadtest.terminal.progress_bar import progress_bar
from loadtest.terminal.run_tables import comparison_table, run_table
from loadtest.terminal.statement_table import statement_table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("compare")(compare)


def run(
    arm: Annotated[str, typer.Option(help=f"Which way: {', '.join(ARMS)}.")],
    scenario: ScenarioOption,
    workflows: WorkflowsOption = None,
    jobs: JobsOption = None,
    concurrency: ConcurrencyOption = None,
    rate: RateOption = None,
    duration: DurationOption = None,
    timeout: TimeoutOption = 300,
    payload_bytes: PayloadBytesOption = None,
    sleep_ms: SleepMsOption = None,
    slow_percent: SlowPercentOption = None,
    large_bytes: LargeBytesOption = None,
    large_percent: LargePercentOption = None,
    failing_percent: FailingPercentOption = None,
    bursts: BurstsOption = None,
    pause: PauseOption = None,
    temporal: TemporalOption = None,
    shared: SharedOption = False,
    statements: StatementsOption = False,
    json_file: JsonOption = None,
) -> None:
    """Run one arm once."""
    plan = plan_of(arm_named(arm).name, locals(), reference=True)
    check_writable(json_file)

    async def work() -> RunResult:
        with progress_bar() as progress:
            async with undisturbed_servers(
                delegates=arm_named(arm).delegates, temporal=temporal, shared=shared, statements=statements
            ) as available:
                return await run_arm(plan, available, progress)

    result = run_loop(work())
    shown = _with_statements(run_table(result), Comparison(result.scenario, 1, {result.arm: [result]}))
    show(shown, result.to_json(), json_file)
    if result.failed:
        raise typer.Exit(1)


def compare(
    scenario: ScenarioOption,
    arms: Annotated[str, typer.Option(help="Arms, comma-separated; ratios are to the first.")] = "classic,delegated",
    workflows: WorkflowsOption = None,
    jobs: JobsOption = None,
    concurrency: ConcurrencyOption = None,
    rate: RateOption = None,
    duration: DurationOption = None,
    rounds: Annotated[int, typer.Option(help="Runs of each arm.")] = 3,
    timeout: TimeoutOption = 300,
    payload_bytes: PayloadBytesOption = None,
    sleep_ms: SleepMsOption = None,
    slow_percent: SlowPercentOption = None,
    large_bytes: LargeBytesOption = None,
    large_percent: LargePercentOption = None,
    failing_percent: FailingPercentOption = None,
    bursts: BurstsOption = None,
    pause: PauseOption = None,
    temporal: TemporalOption = None,
    shared: SharedOption = False,
    statements: StatementsOption = False,
    json_file: JsonOption = None,
) -> None:
    """Run several arms in turn on the same load; print medians, their spread and ratios."""
    given = locals()
    names = arms_listed(arms)
    check_rounds(rounds)
    plan = plan_of(names[0], given, reference=False)
    for name in names:
        replace(plan, arm=name).check()
    check_writable(json_file)

    async def work() -> Comparison:
        with progress_bar() as progress:
            delegates = any(arm_named(name).delegates for name in names)
            async with undisturbed_servers(
                delegates=delegates, temporal=temporal, shared=shared, statements=statements
            ) as available:
                return await compare_arms(names, plan, rounds, available, progress)

    comparison = run_loop(work())
    show(_with_statements(comparison_table([comparison], names[0]), comparison), comparison.to_json(), json_file)
    if comparison.failed:
        raise typer.Exit(1)


def _with_statements(table: RenderableType, comparison: Comparison) -> RenderableType:
    return Group(table, *statement_table(comparison))
