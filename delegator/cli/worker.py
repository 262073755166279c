"""`delegator worker`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
import uvloop
from delegator_schema.queues import DEFAULT_QUEUE

from delegator.cli.durations import seconds
from delegator.config import Settings
from delegator.plugin import PluginOptions
from delegator.runtime.logs import LogFormat, LogLevel, configure_logging
from delegator.runtime.memory import collect_rarely
from delegator.runtime.modules import load_workflows
from delegator.temporal_worker import TemporalWorkerOptions, run_temporal_worker


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    imports: Annotated[
        list[str],
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Module with workflows, activities and delegated types, like yourpkg.workflows; may be repeated.",
        ),
    ],
    task_queue: Annotated[str, typer.Option(help="Temporal task queue to serve.")],
    activities: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE", help="Module whose existing @activity.defn functions are delegated as they are."
        ),
    ] = None,
    activities_queue: Annotated[str, typer.Option(help="Queue of the jobs of --activities.")] = DEFAULT_QUEUE,
    intercept: Annotated[
        bool, typer.Option(help="Delegate unchanged `workflow.execute_activity` calls of the delegated types.")
    ] = False,
    patch: Annotated[
        bool,
        typer.Option(
            help="With --intercept: leave workflow runs that began before alone, at the cost of a marker each."
        ),
    ] = True,
    max_workflow_tasks: Annotated[
        int | None, typer.Option(help="Most workflow tasks at a time; default: the SDK's.", show_default=False)
    ] = None,
    max_activities: Annotated[int, typer.Option(help="Most activities of its own at a time.")] = 100,
    host: Annotated[str, typer.Option(help="Address of /metrics, /livez and /readyz.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of /metrics, /livez and /readyz; 0: none.")] = 0,
    sdk_port: Annotated[
        int, typer.Option(help="Port of the SDK's own metrics (temporal_*) on the same address; 0: none.")
    ] = 0,
    grace: Annotated[float, typer.Option(help="Seconds that activities may go on after a request to stop.")] = 30.0,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option(help="Least level logged.")] = LogLevel.INFO,
) -> None:
    """Run workflows that delegate, and ordinary activities. SIGTERM or Ctrl-C stops it gracefully."""
    settings = Settings.load()
    configure_logging(log_format, log_level.number)
    options = TemporalWorkerOptions(
        task_queue=task_queue,
        plugin=PluginOptions(intercept=intercept, patch=patch),
        max_workflow_tasks=max_workflow_tasks,
        max_activities=max_activities,
        grace=seconds("--grace", grace),
        host=host,
        port=port,
        sdk_port=sdk_port,
    )
    options.validate()
    modules = load_workflows(imports, activities or (), activities_queue)
    collect_rarely()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_temporal_worker(options, settings, modules))
