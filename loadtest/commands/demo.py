"""`loadtest demo`."""

from __future__ import annotations

import typer
from rich.console import Console

from loadtest.commands.common import run_loop
from loadtest.demo import demo as run_demo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Show it all on this machine: the first example, then floor, classic and delegated side by side."""
    if not run_loop(run_demo(Console())):
        raise typer.Exit(1)
