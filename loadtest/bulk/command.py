"""`loadtest bulk`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import typer

from delegator.errors import ConfigurationError
from loadtest.bulk.bare import BATCH, CONNECTIONS, YARDSTICKS, create_table, run_bare
from loadtest.bulk.compare import Run, compare
from loadtest.bulk.database import scratch_database
from loadtest.bulk.delegator_queue import DelegatorQueue
from loadtest.bulk.load import BulkLoad
from loadtest.bulk.results import BulkComparison
from loadtest.bulk.runner import run_contender
from loadtest.bulk.table import bulk_table
from loadtest.commands.common import JsonOption, SharedOption, check_writable, run_loop, show
from loadtest.guard import undisturbed_servers
from loadtest.report.progress import progress_bar
from loadtest.stack import Servers

JobsOption = Annotated[int | None, typer.Option(help="Jobs. Default: 50,000.")]
PayloadOption = Annotated[int, typer.Option(help="Bytes that each job carries.")]
BacklogOption = Annotated[bool, typer.Option("--backlog", help="Enqueue all jobs, then start the worker.")]
RateOption = Annotated[float | None, typer.Option(help="Enqueue so many jobs a second, whatever the worker does.")]
DurationOption = Annotated[float | None, typer.Option(help="Seconds for which --rate goes on. Default: 30.")]
RoundsOption = Annotated[int, typer.Option(help="Runs of each queue.")]

_USED: Final = ("postgres", "relay")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bulk")(bulk)


def bulk(
    jobs: JobsOption = None,
    payload_bytes: PayloadOption = 100,
    backlog: BacklogOption = False,
    rate: RateOption = None,
    duration: DurationOption = None,
    bare: Annotated[
        bool | None,
        typer.Option(
            help="Run plain psycopg loops of insert, claim and delete beside it, as yardsticks. Default: unless --rate."
        ),
    ] = None,
    rounds: RoundsOption = 3,
    shared: SharedOption = False,
    json_file: JsonOption = None,
) -> None:
    """Measure the path without workflows: enqueue, stream, claim, run, delete."""
    load = BulkLoad.of(jobs=jobs, payload_bytes=payload_bytes, backlog=backlog, rate=rate, duration=duration)
    if bare and load.rate is not None:
        raise ConfigurationError("--bare and --rate: the plain loops have no rate, leave one out")
    check_rounds(rounds)
    check_writable(json_file)

    async def work() -> BulkComparison:
        with progress_bar() as progress:
            async with undisturbed_servers(delegates=True, shared=shared) as available:
                queue = DelegatorQueue(available.environment)
                pids = pids_of(available)
                arms: dict[str, Run] = {queue.name: lambda load, advance: run_contender(queue, load, pids, advance)}
                settings: dict[str, Any] = {queue.name: dict(queue.settings)}
                if bare is False or load.rate is not None:
                    return await compare(arms, load, rounds, progress, url=queue.database_url, settings=settings)
                async with scratch_database(queue.database_url) as scratch:
                    await create_table(scratch)
                    for name in YARDSTICKS:
                        arms[name] = partial(run_bare, name, scratch)
                        settings[name] = {"batch": BATCH, "connections": CONNECTIONS}
                    return await compare(arms, load, rounds, progress, url=queue.database_url, settings=settings)

    comparison = run_loop(work())
    show(bulk_table(comparison, DelegatorQueue.name), comparison.to_json(), json_file)
    if comparison.failed:
        raise typer.Exit(1)


def pids_of(available: Servers) -> dict[str, int]:
    """Return the servers' processes that the path without workflows uses."""
    return {name: pid for name, pid in available.processes.items() if name in _USED}


def check_rounds(rounds: int) -> None:
    """Refuse less than one round.

    Raises:
        ConfigurationError: it is less.
    """
    if rounds < 1:
        raise ConfigurationError(f"--rounds must be at least 1, not {rounds}")
