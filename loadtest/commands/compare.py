"""`loadtest compare`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from delegator.errors import ConfigurationError
from loadtest.arms import arm_named
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
from loadtest.compare import arms_listed
from loadtest.compare import compare as compare_arms
from loadtest.comparison import Comparison
from loadtest.guard import undisturbed_servers
from loadtest.report.progress import progress_bar
from loadtest.report.table import comparison_table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


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
    json_file: JsonOption = None,
) -> None:
    """Run several arms in turn on the same load; print medians, their spread and ratios."""
    given = locals()
    names = arms_listed(arms)
    if rounds < 1:
        raise ConfigurationError(f"--rounds must be at least 1, not {rounds}")
    plan = plan_of(names[0], given, reference=False)
    for name in names:
        replace(plan, arm=name).check()
    check_writable(json_file)

    async def work() -> Comparison:
        with progress_bar() as progress:
            delegates = any(arm_named(name).delegates for name in names)
            async with undisturbed_servers(delegates=delegates, temporal=temporal, shared=shared) as available:
                return await compare_arms(names, plan, rounds, available, progress)

    comparison = run_loop(work())
    show(comparison_table([comparison], names[0]), comparison.to_json(), json_file)
    if comparison.failed:
        raise typer.Exit(1)
