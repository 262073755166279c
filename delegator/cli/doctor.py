"""`delegator doctor`: checks every link, and names the fix of each failure."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Final

import typer
from delegator_schema.queues import DEFAULT_QUEUE

from delegator.cli.options import ActivitiesOption, ActivitiesQueueOption, DatabaseOption, JsonOption
from delegator.cli.output import plain, print_json
from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.operating.doctor import Check, DoctorOptions, Status, examine
from delegator.runtime.modules import load_types

_MARKS: Final = {Status.OK: "ok", Status.NOTE: "note", Status.FAILED: "FAILED", Status.SKIPPED: "skipped"}
_COLOURS: Final = {Status.OK: "green", Status.NOTE: "yellow", Status.FAILED: "red", Status.SKIPPED: "bright_black"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor_command)


def doctor_command(
    canary: Annotated[
        bool, typer.Option("--canary/--no-canary", help="Also send a job through the whole path, in each queue.")
    ] = True,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long such a job may take.")
    ] = "20s",
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import", metavar="MODULE", help="Also check that live workers serve all types that it declares."
        ),
    ] = None,
    activities: ActivitiesOption = None,
    activities_queue: ActivitiesQueueOption = DEFAULT_QUEUE,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Check every link with the settings of this shell, and name the fix of each failure. Exit code 1 if one failed.

    It changes nothing but for the canary: a workflow delegates one job of the type delegator.canary in each queue.
    Every http-worker has a handler for it.
    """
    limit = parse_duration(timeout, "--timeout")
    declared = load_types(imports or (), activities or (), activities_queue).values()
    options = DoctorOptions(canary=canary, canary_limit=limit, declared=tuple(declared))
    checks = asyncio.run(_examine(options, database_url, show=not as_json))
    failures = sum(check.status is Status.FAILED for check in checks)
    if as_json:
        print_json(
            {
                "ok": not failures,
                "checks": [
                    {"link": one.link, "status": one.status.value, "text": one.text, "fix": one.fix} for one in checks
                ],
            }
        )
    else:
        typer.echo(f"\n{failures} of {len(checks)} checks failed" if failures else "\nnothing is wrong")
    if failures:
        raise typer.Exit(1)


async def _examine(options: DoctorOptions, database_url: str | None, *, show: bool) -> list[Check]:
    checks = []
    async for check in examine(lambda: Settings.load(database_url=database_url), options):
        checks.append(check)
        if show:
            _print(check)
    return checks


def _print(check: Check) -> None:
    mark = f"{_MARKS[check.status]:<8}"
    if sys.stdout.isatty():
        mark = typer.style(mark, fg=_COLOURS[check.status])
    typer.echo(f"{mark}{plain(check.link)}: {plain(check.text)}")
    if check.fix is not None:
        typer.echo(f"        -> {plain(check.fix)}")
