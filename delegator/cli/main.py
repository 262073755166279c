"""The `delegator` command: assembles the sub-commands and turns errors into one line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from delegator.cli.version import version_option
from delegator.errors import ConfigurationError, DelegatorError, DependencyError

COMMANDS = {
    "migrate": "delegator.cli.migrate",
    "sequin-config": "delegator.cli.sequin_config",
    "relay": "delegator.cli.relay",
    "serve": "delegator.cli.serve",
    "worker": "delegator.cli.worker",
    "gateway": "delegator.gateway.command",
    "dev": "delegator.cli.dev",
    "jobs": "delegator.cli.jobs",
    "explain": "delegator.cli.jobs",
    "status": "delegator.cli.status",
    "workers": "delegator.cli.workers",
    "queues": "delegator.cli.queues",
    "types": "delegator.cli.queues",
    "dlq": "delegator.cli.dlq",
    "doctor": "delegator.cli.doctor",
    "config": "delegator.cli.config",
    "ui": "delegator.cli.ui",
    "codec-server": "delegator.cli.codec_server",
    "encryption-key": "delegator.cli.codec_server",
}
"""Each command, and the module that registers it (and may register others)."""
USAGE_EXIT_CODE = 2


def build_app(command: str | None = None) -> typer.Typer:
    """Assemble the command.

    Args:
        command: the sub-command that will run, so that only its module is imported; another value imports all.
    """
    app = typer.Typer(
        name="delegator",
        help="Delegates Temporal activities through PostgreSQL's write-ahead log.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def root(
        _version: Annotated[bool, version_option("delegator")] = False,
    ) -> None:
        pass

    for module in [COMMANDS[command]] if command in COMMANDS else dict.fromkeys(COMMANDS.values()):
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(app)
    return app


def run(build: Callable[[], typer.Typer], program: str) -> int:
    """Run a command line, and return its exit code.

    Every DelegatorError becomes one message on stderr: exit code 2 where a setting or a server is wrong, else 1.

    Args:
        build: makes the command.
        program: its name in messages.
    """
    try:
        build()(prog_name=program)
    except (ConfigurationError, DependencyError) as error:
        typer.echo(f"{program}: {error}", err=True)
        return USAGE_EXIT_CODE
    except DelegatorError as error:
        typer.echo(f"{program}: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """Run `delegator`."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    sys.exit(run(lambda: build_app(command), "delegator"))
