"""`delegator serve`."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Annotated

import typer
import uvloop
from delegator_schema.queues import DEFAULT_QUEUE

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.maintenance.service import ServeOptions, serve
from delegator.maintenance.sweeper import SweeperOptions
from delegator.runtime.logs import LogFormat, LogLevel, configure_logging
from delegator.runtime.modules import load_types


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_command)


def serve_command(
    host: Annotated[str, typer.Option(help="Address of /metrics, /livez and /readyz.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of /metrics, /livez and /readyz; 0: none.")] = 0,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Module with types whose activity tasks to delegate."),
    ] = None,
    activities: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="Module whose existing @activity.defn functions are such types, too."),
    ] = None,
    activities_queue: Annotated[str, typer.Option(help="Queue of the jobs of --activities.")] = DEFAULT_QUEUE,
    task_queue: Annotated[
        str | None, typer.Option(help="Temporal task queue on which workflows schedule these activities.")
    ] = None,
    delivery_grace: Annotated[
        float | None,
        typer.Option(
            help="Seconds behind the stream's progress after which a row is lost; default: a third of a lease.",
            show_default=False,
        ),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option(help="Least level logged.")] = LogLevel.INFO,
) -> None:
    """Rescue what is lost, due or timed out; with --task-queue, also delegate activity tasks. Any number may run."""
    settings = Settings.load()
    configure_logging(log_format, log_level.number)
    sweep = dataclasses.replace(
        SweeperOptions(),
        delivery_grace=settings.lease / 3 if delivery_grace is None else timedelta(seconds=delivery_grace),
        restart_grace=settings.lease,
        result_retention=settings.result_retention,
        full_interval=min(SweeperOptions().full_interval, max(settings.result_retention / 4, timedelta(seconds=1))),
    )
    if bool(imports or activities) != bool(task_queue):
        raise ConfigurationError(
            "--import (or --activities) and --task-queue go together: the types to delegate, and where they come"
        )
    types = load_types(imports or (), activities or (), activities_queue)
    options = ServeOptions(
        host=host,
        port=port,
        sweep=sweep,
        types=tuple(types.values()),
        task_queue=task_queue,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options, settings))
