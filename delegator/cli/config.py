"""`delegator config`: the settings that processes started here would use."""

from __future__ import annotations

import typer

from delegator.cli.options import DatabaseOption, JsonOption
from delegator.cli.output import print_json, print_table
from delegator.operating.configuration import effective


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="config")(config_command)


def config_command(as_json: JsonOption = False, database_url: DatabaseOption = None) -> None:
    """Print the effective settings, each with where it comes from. Secrets are masked. No server is asked."""
    configuration = effective(database_url=database_url)
    rows = [{"name": one.name, "value": one.value, "origin": one.origin} for one in configuration.values]
    if as_json:
        print_json({"settings": rows, "ignored": list(configuration.ignored)})
        return
    print_table(("name", "value", "origin"), rows, ("name", "origin"))
    for name in configuration.ignored:
        typer.echo(f"{name} is no setting: it is ignored", err=True)
