"""`delegator serve`."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Annotated

import typer
import uvloop
from delegator_schema.queues import DEFAULT_QUEUE

from delegator.cli.options import (
    DEFAULT_HOST,
    DEFAULT_STALL_LIMIT,
    ActivitiesOption,
    ActivitiesQueueOption,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    PortOption,
    StallLimitOption,
    TlsCertOption,
    TlsKeyOption,
    check_port,
    parse_stall_limit,
    set_up_logging,
)
from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.errors import ConfigurationError
from delegator.maintenance.service import ServeOptions, serve
from delegator.maintenance.sweeper import SweeperOptions
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.modules import load_types
from delegator.runtime.server_tls import TlsFiles


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_command)


def serve_command(
    host: HostOption = DEFAULT_HOST,
    port: PortOption = 0,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Module with types whose activity tasks to delegate."),
    ] = None,
    activities: ActivitiesOption = None,
    activities_queue: ActivitiesQueueOption = DEFAULT_QUEUE,
    task_queue: Annotated[
        str | None, typer.Option(help="Temporal task queue on which workflows schedule these activities.")
    ] = None,
    delivery_grace: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How far behind the stream's progress a row counts as lost. Default: a third of DELEGATOR_LEASE.",
            show_default=False,
        ),
    ] = None,
    stall_limit: StallLimitOption = DEFAULT_STALL_LIMIT,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Republish lost jobs, start due retries, time out overdue jobs. Any number may run.

    With --task-queue it also delegates activity tasks.
    """
    settings = Settings.load()
    set_up_logging(settings, log_format, log_level)
    sweep = dataclasses.replace(
        SweeperOptions(),
        delivery_grace=parse_duration(delivery_grace, "--delivery-grace") if delivery_grace else settings.lease / 3,
        restart_grace=settings.lease,
        result_retention=settings.result_retention,
        full_interval=min(SweeperOptions().full_interval, max(settings.result_retention / 4, timedelta(seconds=1))),
    )
    check_port(port)
    if bool(imports or activities) != bool(task_queue):
        raise ConfigurationError(
            "--import (or --activities) and --task-queue go together: the types to delegate, and where they come"
        )
    types = load_types(imports or (), activities or (), activities_queue)
    options = ServeOptions(
        host=host,
        port=port,
        tls=TlsFiles.given(tls_cert, tls_key),
        sweep=sweep,
        types=tuple(types.values()),
        task_queue=task_queue,
        stall_limit=parse_stall_limit(stall_limit),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options, settings))
