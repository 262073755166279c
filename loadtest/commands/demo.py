"""The command `demo`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

import typer
from rich.console import Console

from delegator.dev import embedded_stack
from delegator.errors import DelegatorError
from delegator.runtime.child_processes import send_signal
from loadtest.commands.common import run_loop
from loadtest.results.comparison import Comparison
from loadtest.runs.arm_rounds import compare
from loadtest.runs.plan import Plan
from loadtest.servers.stack import Servers
from loadtest.terminal.progress_bar import progress_bar
from loadtest.terminal.run_tables import comparison_table
from loadtest.workload.scenarios import Load

_ARMS: Final = ("classic", "delegated", "floor")
_LOADS: Final = {
    "single": Load(workflows=600, jobs=1, concurrency=150),
    "sequence": Load(workflows=150, jobs=5, concurrency=50),
    "fanout": Load(workflows=10, jobs=200, concurrency=10),
}
_EXAMPLE: Final = "examples.wordcount"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Run an example, then compare classic, delegated and floor, on servers of its own."""
    if not run_loop(_show_all(Console())):
        raise typer.Exit(1)


async def _show_all(console: Console) -> bool:
    """Run the example and the comparison on an embedded stack; return whether everything succeeded.

    Args:
        console: gets the table.

    Raises:
        DelegatorError: a server, a worker or the example failed.
    """
    console.print("Starting PostgreSQL, Temporal, the relay ...", highlight=False)
    async with embedded_stack() as stack:
        console.print(f"Running {_EXAMPLE}: one workflow, a delegated job for each file of the standard library")
        await _example(stack.environment)
        console.print("Running the same work as ordinary activities (classic), delegated, and not at all (floor)")
        comparisons: list[Comparison] = []
        with progress_bar() as progress:
            for scenario, load in _LOADS.items():
                plan = Plan(arm=_ARMS[0], scenario=scenario, load=load)
                comparisons.append(await compare(_ARMS, plan, 1, Servers.of(stack), progress))
    console.print(comparison_table(comparisons, _ARMS[0], title="Ordinary activities and delegated jobs"))
    return not any(comparison.failed for comparison in comparisons)


async def _example(environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _EXAMPLE), env={**os.environ, **environment}, start_new_session=True
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        send_signal(process, signal.SIGINT)
        await process.wait()
        raise
    if code:
        raise DelegatorError(f"{_EXAMPLE} ended with exit code {code}")
