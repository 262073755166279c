"""`delegator sequin-config`: writes Sequin's configuration for the declared queues."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from delegator.cli.options import DatabaseOption
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.migrate.sequin import render_config


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="sequin-config")(sequin_config)


def sequin_config(
    output: Annotated[
        Path | None, typer.Option(help="File to write. Default: standard output.", dir_okay=False)
    ] = None,
    database_url: DatabaseOption = None,
    queues: Annotated[
        str | None, typer.Option(help="Declared queues, comma-separated. Default: DELEGATOR_QUEUES.")
    ] = None,
    schema: Annotated[str | None, typer.Option(help="Default: DELEGATOR_SCHEMA, or public.")] = None,
) -> None:
    """Write sequin.yml: a sink with a replication slot of its own for each declared queue. It holds no secret."""
    settings = Settings.load(database_url=database_url, queues=queues, schema_name=schema)
    config = render_config(settings, schema=settings.schema_name or "public")
    if output is None:
        typer.echo(config, nl=False)
        return
    try:
        output.write_text(config, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output: can't write {output}: {error.strerror}") from None
