"""`loadtest compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from delegator.errors import ConfigurationError
from loadtest.arms import arm_named
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
from loadtest.compare import arms_listed
from loadtest.compare import compare as compare_arms
from loadtest.measure import Comparison
from loadtest.report.progress import progress_bar
from loadtest.report.table import comparison_table
from loadtest.runner import Plan
from loadtest.scenarios import scenario_named
from loadtest.stack import servers


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    scenario: ScenarioOption,
    arms: Annotated[str, typer.Option(help="Arms, comma-separated; ratios are to the first.")] = "classic,delegated",
    workflows: WorkflowsOption = None,
    jobs: JobsOption = None,
    concurrency: ConcurrencyOption = None,
    rounds: Annotated[int, typer.Option(help="Runs of each arm.")] = 3,
    timeout: TimeoutOption = 300,
    json_file: JsonOption = None,
) -> None:
    """Run several arms in turn on the same load; print medians and ratios."""
    names = arms_listed(arms)
    if rounds < 1:
        raise ConfigurationError(f"--rounds must be at least 1, not {rounds}")
    load = scenario_named(scenario).load(workflows=workflows, jobs=jobs, concurrency=concurrency)
    plan = Plan(arm=names[0], scenario=scenario, load=load, timeout=positive_seconds("--timeout", timeout))
    for name in names:
        Plan(arm=name, scenario=scenario, load=load).check()
    check_writable(json_file)

    async def work() -> Comparison:
        with progress_bar() as progress:
            async with servers(delegates=any(arm_named(name).delegates for name in names)) as environment:
                return await compare_arms(names, plan, rounds, environment, progress)

    comparison = run_loop(work())
    show(comparison_table([comparison], names[0]), comparison.to_json(), json_file)
    if comparison.failed:
        raise typer.Exit(1)
