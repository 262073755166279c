"""`loadtest idle`: what a worker, and the servers beside it, cost while there is nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from loadtest.arms.base import HTTP_CONCURRENCY, http_worker
from loadtest.commands.common import JsonOption, SharedOption, check_writable, positive_seconds, run_loop, show
from loadtest.costs.meter import CostMeter, CostSources
from loadtest.guard import undisturbed_servers
from loadtest.processes import crew

_SETTLING: Final = 5.0  # seconds for what a start still has to do
_WORKER: Final = "HTTP worker"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("idle")(idle)


def idle(
    seconds: Annotated[float, typer.Option(help="How long to look.")] = 30,
    shared: SharedOption = False,
    json_file: JsonOption = None,
) -> None:
    """Measure the processor time of a worker with nothing to do."""
    length = positive_seconds("--seconds", seconds).total_seconds()
    check_writable(json_file)
    numbers = run_loop(_measure(length, shared=shared))
    show(_table(numbers), numbers, json_file)


async def _measure(seconds: float, *, shared: bool) -> dict[str, Any]:
    async with undisturbed_servers(delegates=True, shared=shared) as available:
        with TemporaryDirectory(prefix="loadtest-logs-") as logs:
            async with crew([http_worker()], environment=available.environment, directory=Path(logs)) as workers:
                await asyncio.sleep(_SETTLING)
                sources = CostSources(processes={**available.processes, **workers.pids})
                async with CostMeter(sources) as meter:
                    await asyncio.sleep(seconds)
    shares = {name: cost.cpu_s * 100 / seconds for name, cost in meter.costs.processes.items()}
    return {
        "seconds": seconds,
        "concurrency": HTTP_CONCURRENCY,
        "worker_percent": round(shares[_WORKER], 3),
        "percent": {name: round(share, 3) for name, share in shares.items()},
    }


def _table(numbers: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left")
    table.title = f"Nothing to do for {numbers['seconds']:g} s"
    table.add_column("process")
    table.add_column("% of a core", justify="right")
    for name, share in numbers["percent"].items():
        table.add_row(name, f"{share:.2f}")
    return table
