"""The command line: `python -m loadtest COMMAND`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Annotated, Final

import psycopg
import typer
from temporalio.service import RPCError

from delegator.cli.version import version_option
from delegator.errors import ConfigurationError, DelegatorError, DependencyError, first_line
from loadtest.commands import bench_idle, bulk_peers, demo, report_page, run_compare, statements

_REGISTRATIONS: Final[tuple[Callable[[typer.Typer], None], ...]] = (
    run_compare.register,
    demo.register,
    report_page.register,
    bulk_peers.register,
    bench_idle.register,
    statements.register,
)


def build_app() -> typer.Typer:
    """Assemble the command line from its sub-commands."""
    app = typer.Typer(
        help="Measure delegated jobs against ordinary activities.",
        no_args_is_help=False,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(_version: Annotated[bool, version_option("loadtest")] = False) -> None:
        pass

    for register in _REGISTRATIONS:
        register(app)
    return app


def main() -> None:
    """Run the command line and exit: 0 success, 1 work failed, 2 the command can't be run, 130 interrupted."""
    sys.exit(_outcome())


def _outcome() -> int:
    try:
        code = build_app()(prog_name="loadtest", standalone_mode=False)
    except DelegatorError as error:
        return _complain(error, 2 if isinstance(error, ConfigurationError | DependencyError) else 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except RPCError as error:
        return _complain(f"Temporal answered with an error: {error.status.name}: {error.message}", 1)
    except psycopg.Error as error:
        return _complain(f"PostgreSQL answered with an error: {first_line(error)}", 1)
    except Exception as error:
        if isinstance(
            error, typer.BadParameter.__bases__
        ):  # the parser's errors: typer has no public name for their base class
            return _complain(error, 2)
        raise
    return code if isinstance(code, int) else 0


def _complain(error: object, code: int) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"loadtest: {message}", file=sys.stderr)
    return code
