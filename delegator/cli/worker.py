"""`delegator worker`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
import uvloop
from delegator_schema.queues import DEFAULT_QUEUE

from delegator.cli.options import (
    DEFAULT_GRACE,
    DEFAULT_HOST,
    DEFAULT_STALL_LIMIT,
    NUMBER,
    ActivitiesQueueOption,
    GraceOption,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    PortOption,
    SdkPortOption,
    StallLimitOption,
    TlsCertOption,
    TlsKeyOption,
    parse_stall_limit,
    set_up_logging,
)
from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.plugin import PluginOptions
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.memory import collect_rarely
from delegator.runtime.modules import load_workflows
from delegator.runtime.server_tls import TlsFiles
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
            metavar="MODULE",
            help="Module whose existing @activity.defn functions are delegated as they are. Implies --intercept.",
        ),
    ] = None,
    activities_queue: ActivitiesQueueOption = DEFAULT_QUEUE,
    intercept: Annotated[
        bool | None,
        typer.Option(
            help="Delegate unchanged `workflow.execute_activity` calls of the delegated types. Default: with "
            "--activities yes, else no. Without it another worker must take these calls.",
            show_default=False,
        ),
    ] = None,
    patch: Annotated[
        bool,
        typer.Option(
            help="With --intercept: leave workflow runs that began before alone, at the cost of a marker each."
        ),
    ] = True,
    max_workflow_tasks: Annotated[
        int | None,
        typer.Option(help="Most workflow tasks at a time; default: the SDK's.", show_default=False, **NUMBER),
    ] = None,
    max_activities: Annotated[int, typer.Option(help="Most activities of its own at a time.", **NUMBER)] = 100,
    host: HostOption = DEFAULT_HOST,
    port: PortOption = 0,
    sdk_port: SdkPortOption = 0,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    grace: GraceOption = DEFAULT_GRACE,
    stall_limit: StallLimitOption = DEFAULT_STALL_LIMIT,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Run workflows that delegate, and ordinary activities. SIGTERM or Ctrl-C stops it gracefully."""
    settings = Settings.load()
    set_up_logging(settings, log_format, log_level)
    options = TemporalWorkerOptions(
        task_queue=task_queue,
        plugin=PluginOptions(intercept=bool(activities) if intercept is None else intercept, patch=patch),
        max_workflow_tasks=max_workflow_tasks,
        max_activities=max_activities,
        grace=parse_duration(grace, "--grace"),
        host=host,
        port=port,
        tls=TlsFiles.given(tls_cert, tls_key),
        sdk_port=sdk_port,
        stall_limit=parse_stall_limit(stall_limit),
    )
    options.validate()
    modules = load_workflows(imports, activities or (), activities_queue)
    collect_rarely()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_temporal_worker(options, settings, modules))
