"""The command `statements`."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer
from rich.console import Group

from delegator.dev import StackOptions, embedded_stack
from delegator.errors import ConfigurationError
from loadtest.arms import ARMS, arm_named
from loadtest.commands.common import JsonOption, check_writable, run_loop, show
from loadtest.meters.statement_log import SETTINGS, LoggingServer
from loadtest.results.statements import QUEUE, TEMPORAL
from loadtest.results.trace import Trace
from loadtest.runs.traced_run import trace
from loadtest.servers.stack import DATABASE_VARIABLE, TEMPORAL_VARIABLE, Servers, TemporalChoice
from loadtest.terminal.progress_bar import progress_bar
from loadtest.terminal.trace_table import trace_tables

_DATABASE: Final = "postgres"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("statements")(statements)


def statements(
    arm: Annotated[str, typer.Option(help=f"Which way: {', '.join(ARMS)}.")] = "delegated",
    temporal: Annotated[
        TemporalChoice, typer.Option(help="Temporal's server: on PostgreSQL, or the dev server, which has none.")
    ] = TemporalChoice.POSTGRES,
    json_file: JsonOption = None,
) -> None:
    """Print each SQL statement that one workflow of one job makes PostgreSQL run, by transaction."""
    name = arm_named(arm).name
    for variable in (TEMPORAL_VARIABLE, DATABASE_VARIABLE):
        if os.environ.get(variable):
            raise ConfigurationError(
                f"statements starts servers of its own, whose logs it reads: unset {TEMPORAL_VARIABLE} and "
                f"{DATABASE_VARIABLE}"
            )
    check_writable(json_file)

    async def work() -> Trace:
        options = StackOptions(temporal=temporal.value, postgres_settings=SETTINGS)
        with progress_bar() as progress:
            async with embedded_stack(options) as stack:
                own = stack.temporal_postgres
                servers = {**({TEMPORAL: own} if own is not None else {}), QUEUE: stack.postgres}
                logging = {
                    server: LoggingServer(postgres.url(_DATABASE), stack.logs[postgres.name])
                    for server, postgres in servers.items()
                }
                return await trace(name, Servers.of(stack, temporal), logging, progress)

    found = run_loop(work())
    show(Group(*trace_tables(found)), found.to_json(), json_file)
