"""`loadtest run`."""

from __future__ import annotations

from typing import Annotated

import typer

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
    TemporalOption,
    TimeoutOption,
    WorkflowsOption,
    check_writable,
    plan_of,
    run_loop,
    show,
)
from loadtest.guard import undisturbed_servers
from loadtest.measure import RunResult
from loadtest.report.progress import progress_bar
from loadtest.report.table import run_table
from loadtest.runner import run as run_arm


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


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
    json_file: JsonOption = None,
) -> None:
    """Run one arm once."""
    plan = plan_of(arm_named(arm).name, locals(), reference=True)
    check_writable(json_file)

    async def work() -> RunResult:
        with progress_bar() as progress:
            async with undisturbed_servers(
                delegates=arm_named(arm).delegates, temporal=temporal, shared=shared
            ) as available:
                return await run_arm(plan, available, progress)

    result = run_loop(work())
    show(run_table(result), result.to_json(), json_file)
    if result.failed:
        raise typer.Exit(1)
