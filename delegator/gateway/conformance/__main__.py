"""`python -m delegator.gateway.conformance URL -- CMD`."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from delegator.cli.main import run
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.gateway.conformance.run import check_worker

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(context_settings={"allow_interspersed_args": False})
def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="Base URL of the gateway.")],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD", help="Starts the worker.")],
    queue: Annotated[str, typer.Option(help="Queue for the jobs; no other worker may serve their types.")] = "default",
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Only this check; may be repeated.")] = None,
) -> None:
    """Check a worker against a gateway. The jobs are enqueued in DELEGATOR_DATABASE_URL.

    The worker gets GATEWAY_URL, GATEWAY_QUEUE and GATEWAY_TOKEN, the latter as it is set here.
    """
    settings = Settings.load()
    if queue not in settings.queues:
        raise ConfigurationError(f"--queue {queue}: not a declared queue (DELEGATOR_QUEUES)")
    token = os.environ.get("GATEWAY_TOKEN", "")
    results = asyncio.run(check_worker(url.rstrip("/"), command, settings, queue, token, only))
    failed = [name for name, complaint in results.items() if complaint is not None]
    typer.echo(f"{len(results) - len(failed)} of {len(results)} checks passed")
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(run(lambda: app, "python -m delegator.gateway.conformance"))
