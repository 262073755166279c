"""`loadtest run`."""

from __future__ import annotations

from typing import Annotated

import typer

from loadtest.arms import ARMS, arm_named
from loadtest.commands.common import (
    ConcurrencyOption,
    JobsOption,
    JsonOption,
    ScenarioOption,
    TimeoutOption,
    WorkflowsOption,
    check_writable,
    positive_seconds,
    run_loop,
    show,
)
from loadtest.measure import RunResult
from loadtest.report.progress import progress_bar
from loadtest.report.table import run_table
from loadtest.runner import Plan
from loadtest.runner import run as run_arm
from loadtest.scenarios import scenario_named
from loadtest.stack import servers


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    arm: Annotated[str, typer.Option(help=f"Which way: {', '.join(ARMS)}.")],
    scenario: ScenarioOption,
    workflows: WorkflowsOption = None,
    jobs: JobsOption = None,
    concurrency: ConcurrencyOption = None,
    timeout: TimeoutOption = 300,
    json_file: JsonOption = None,
) -> None:
    """Run one arm once."""
    plan = Plan(
        arm=arm_named(arm).name,
        scenario=scenario,
        load=scenario_named(scenario).load(arm, workflows=workflows, jobs=jobs, concurrency=concurrency),
        timeout=positive_seconds("--timeout", timeout),
    )
    plan.check()
    check_writable(json_file)

    async def work() -> RunResult:
        with progress_bar() as progress:
            async with servers(delegates=arm_named(arm).delegates) as environment:
                return await run_arm(plan, environment, progress)

    result = run_loop(work())
    show(run_table(result), result.to_json(), json_file)
    if result.failed:
        raise typer.Exit(1)
