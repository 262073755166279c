"""The one line that `--version` prints, the same for every program."""

from __future__ import annotations

import platform
from importlib.metadata import version

import typer

DISTRIBUTION = "temporal-delegator"


def version_line(program: str) -> str:
    """Return the program, our version, and the versions that an error report needs.

    Args:
        program: the name of the command.
    """
    return (
        f"{program}: {DISTRIBUTION} {version(DISTRIBUTION)} "
        f"(Python {platform.python_version()}, temporalio {version('temporalio')})"
    )


def version_option(program: str) -> object:
    """Return the option `--version` of a command: a bool parameter that prints the line and ends the command.

    Args:
        program: the name of the command.
    """

    def show(asked: bool) -> None:
        if asked:
            typer.echo(version_line(program))
            raise typer.Exit

    return typer.Option("--version", help="Print the versions and exit.", callback=show, is_eager=True)
