"""`delegator dev`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from delegator.cli.dev_page import DevPage, dev_page
from delegator.cli.options import (
    DEFAULT_HOST,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    PortOption,
    check_port,
    set_up_logging,
)
from delegator.cli.ui import INSTALL
from delegator.config import Settings
from delegator.dev import RunningStack, StackOptions, TemporalKind, embedded_stack
from delegator.dev.health import StackHealth
from delegator.errors import DependencyError
from delegator.runtime.health import HealthServer
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.shutdown import cancelled_by_signals

_KEPT_BY_DEFAULT = Path(".delegator") / "stack"
_log = logging.getLogger(__name__)
_Report = Callable[[RunningStack, DevPage | None], str]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="dev")(dev)


def dev(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data and logs are. Default: a temporary directory.", file_okay=False)
    ] = None,
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--throw-away",
            help="Keep the data for the next start, or remove it at the end. Default: keep if --data-dir is given. "
            f"--keep alone uses {_KEPT_BY_DEFAULT}.",
        ),
    ] = None,
    queues: Annotated[str | None, typer.Option(help="Declared queues, comma-separated.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Without Temporal's web UI.")] = False,
    temporal: Annotated[
        TemporalKind,
        typer.Option(
            help="dev: the dev server. postgres: Temporal's own server on a PostgreSQL of its own, "
            "without UI (make temporal-postgres builds it)."
        ),
    ] = "dev",
    encrypt: Annotated[
        bool,
        typer.Option(
            "--encrypt",
            help="Encrypt payloads with a key of the stack's own, which the codec server has, too.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the stack consists of as one line of JSON.")
    ] = False,
    host: HostOption = DEFAULT_HOST,
    port: PortOption = 0,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Start PostgreSQL, Temporal, the schema and the relay on this machine; stop them on Ctrl-C.

    A codec server shows outcomes of jobs as JSON in Temporal's UI, and payloads on the operator's page.

    Standard output says how to reach the stack, once it is ready. Standard error has this process's log lines; each
    component writes a log file of its own.
    """
    kept = keep if keep is not None else data_dir is not None
    settings = Settings.load(queues=queues)
    set_up_logging(settings, log_format, log_level)
    check_port(port)
    options = StackOptions(
        data_dir=data_dir or (_KEPT_BY_DEFAULT if kept else None),
        keep=kept,
        queues=settings.queues,
        headless=headless,
        temporal=temporal,
        encrypt=encrypt,
        codec_server=not headless and temporal == "dev",
    )
    health_url = f"http://{host}:{port}" if port else None

    def report(stack: RunningStack, page: DevPage | None) -> str:
        return _as_json(stack, health_url, page) if as_json else _as_text(stack, options, health_url, page)

    health = StackHealth()
    server: AbstractContextManager[object] = nullcontext()
    if port:
        server = HealthServer(health, host=host, port=port)
    with server:
        code = asyncio.run(_serve(options, health, report))
    raise typer.Exit(code)


async def _serve(options: StackOptions, health: StackHealth, report: _Report) -> int:
    try:
        # Cancelling works while the stack starts, too. A second signal, while it stops, kills what is left.
        async with cancelled_by_signals(again=True):
            return await _run(options, health, report)
    except asyncio.CancelledError:
        return 0


async def _run(options: StackOptions, health: StackHealth, report: _Report) -> int:
    try:
        async with embedded_stack(options) as stack, dev_page(stack) as page:
            health.stack = stack
            typer.echo(report(stack, page))
            try:
                await asyncio.Event().wait()
            finally:
                _log.info("stack_stopping")
    except DependencyError as error:
        if health.stack is None:
            raise
        typer.echo(f"delegator dev: {error}", err=True)
    finally:
        if health.stack is not None:
            _log.info("stack_stopped")
    return 1


def _as_json(stack: RunningStack, health_url: str | None, page: DevPage | None) -> str:
    return json.dumps(
        {
            "environment": dict(stack.environment),
            "temporal_ui_url": stack.temporal_ui_url,
            "temporal_metrics_url": stack.temporal_metrics_url,
            "codec_url": stack.codec_url,
            "ui_url": None if page is None else page.url,
            "ui_token": None if page is None else page.token,
            "health_url": health_url,
            "directory": str(stack.directory),
            "logs": {name: str(path) for name, path in stack.logs.items()},
            "pids": dict(stack.pids),
        }
    )


def _as_text(stack: RunningStack, options: StackOptions, health_url: str | None, page: DevPage | None) -> str:
    exports = [f"  export {name}={shlex.quote(value)}" for name, value in stack.environment.items()]
    rows = {
        "Temporal": stack.temporal_address,
        "Temporal UI": stack.temporal_ui_url or ("off (--headless)" if options.temporal == "dev" else "none"),
        "Operator's page": f"off ({INSTALL})" if page is None else f"{page.url} (token: {page.token})",
        "Temporal metrics": stack.temporal_metrics_url,
        "Stream": stack.environment.get("DELEGATOR_STREAM_URL", "off"),
        "Codec server": stack.codec_url or f"off ({'--headless' if options.headless else 'no UI'}, no --encrypt)",
        "Health": f"{health_url}/readyz" if health_url else "off (--port)",
        "Data and logs": f"{stack.directory} ({'kept' if options.keep else 'removed at the end'})",
    }
    lines = [f"  {name:<17} {value}" for name, value in rows.items()]
    return "\n".join(
        [
            "The stack is running.",
            "",
            *lines,
            "",
            "In the shell of a worker or a client:",
            "",
            *exports,
            "",
            "Ctrl-C stops it.",
        ]
    )
