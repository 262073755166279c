"""`delegator migrate`: brings the database to the declared state."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from delegator_schema.queues import queue_table

from delegator.cli.options import DatabaseOption
from delegator.config import Settings
from delegator.errors import SchemaError
from delegator.migrate import MigrationReport, describe, inspect, migrate


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="migrate")(migrate_command)


def migrate_command(
    database_url: DatabaseOption = None,
    queues: Annotated[
        str | None, typer.Option(help="Declared queues, comma-separated. Default: DELEGATOR_QUEUES.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 2 unless the database is as declared.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would be done.")] = False,
) -> None:
    """Apply migrations, create the tables of additional queues, and compare the database with the declarations."""
    settings = Settings.load(database_url=database_url, queues=queues)
    if check or dry_run:
        report = asyncio.run(inspect(settings))
        _print(report, settings, would=True)
        if check:
            _require_up_to_date(report, settings)
        return
    _print(asyncio.run(migrate(settings)), settings, would=False)


def _print(report: MigrationReport, settings: Settings, *, would: bool) -> None:
    apply, create = ("would apply", "would create") if would else ("applied", "created")
    for name in report.applied:
        typer.echo(f"{apply} {name}" + (f" (by {report.atlas})" if report.atlas else ""))
    for queue in report.created_queues:
        typer.echo(f"{create} queue {queue} (table {queue_table(queue)})")
    for finding in report.findings:
        if not finding.is_error:
            typer.echo(f"note: {finding}")
    if report.up_to_date or not would:
        typer.echo(f"the database is as declared (queues: {', '.join(settings.queues)})")


def _require_up_to_date(report: MigrationReport, settings: Settings) -> None:
    fix = f"run `delegator migrate` with DELEGATOR_QUEUES={','.join(settings.queues)}"
    if report.applied:
        raise SchemaError(f"not applied yet: {', '.join(report.applied)}: {fix}")
    if report.created_queues:
        raise SchemaError(f"table {queue_table(report.created_queues[0])} is missing: {fix}")
    if report.errors:
        raise SchemaError(describe(report.errors))
