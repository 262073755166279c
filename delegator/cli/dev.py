"""`delegator dev`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer

from delegator.config import Settings
from delegator.dev import RunningStack, StackOptions, TemporalKind, embedded_stack
from delegator.errors import DependencyError

_KEPT_BY_DEFAULT = Path(".delegator") / "stack"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Start PostgreSQL, Temporal, the schema and the relay on this machine; stop them on Ctrl-C."""
    kept = keep if keep is not None else data_dir is not None
    options = StackOptions(
        data_dir=data_dir or (_KEPT_BY_DEFAULT if kept else None),
        keep=kept,
        queues=Settings.load(queues=queues).queues,
        headless=headless,
        temporal=temporal,
    )
    logging.getLogger("delegator.dev").addHandler(logging.NullHandler())
    raise typer.Exit(asyncio.run(_serve(options, as_json=as_json)))


async def _serve(options: StackOptions, *, as_json: bool) -> int:
    running = asyncio.create_task(_run(options, as_json=as_json))
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        # Cancelling works while it starts too; the second Ctrl-C, while it stops, kills what is left.
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return 0


async def _run(options: StackOptions, *, as_json: bool) -> int:
    started = False
    try:
        async with embedded_stack(options) as stack:
            started = True
            typer.echo(_as_json(stack) if as_json else _as_text(stack, options))
            await asyncio.Event().wait()
    except DependencyError as error:
        if not started:
            raise
        typer.echo(f"delegator dev: {error}", err=True)
    return 1


def _as_json(stack: RunningStack) -> str:
    return json.dumps(
        {
            "environment": dict(stack.environment),
            "temporal_ui_url": stack.temporal_ui_url,
            "temporal_metrics_url": stack.temporal_metrics_url,
            "directory": str(stack.directory),
            "logs": {name: str(path) for name, path in stack.logs.items()},
            "pids": dict(stack.pids),
        }
    )


def _as_text(stack: RunningStack, options: StackOptions) -> str:
    exports = [f"  export {name}={shlex.quote(value)}" for name, value in stack.environment.items()]
    rows = {
        "Temporal": stack.temporal_address,
        "Temporal UI": stack.temporal_ui_url or ("off (--headless)" if options.temporal == "dev" else "none"),
        "Temporal metrics": stack.temporal_metrics_url,
        "Stream": stack.environment.get("DELEGATOR_STREAM_URL", "off"),
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
