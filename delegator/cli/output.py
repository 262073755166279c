"""What commands print: tables, JSON, questions. Each has one form in every command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from delegator.durations import short_duration
from delegator.errors import ConfigurationError

_UNLIMITED: Final = 1_000_000
_WATCH_SECONDS: Final = 2.0


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    typer.echo(json.dumps(value))


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], whole: Collection[str] = ()) -> None:
    """Print a table. A terminal's lines are wrapped at its width; a pipe or a file gets one line for each row.

    Args:
        columns: the keys of the rows, in order. An underscore is shown as a space.
        rows: the values; None is shown as nothing.
        whole: columns that are never wrapped.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(Text(plain(shown(row[name]))) for name in columns))
    # Another program reads whole lines. A terminal's lines have an end, and rich wraps at it.
    console = Console() if sys.stdout.isatty() else Console(width=_UNLIMITED, height=max(len(rows), 1))
    console.print(table)


def print_fields(fields: Mapping[str, Any], width: int = 13) -> None:
    """Print one line for each value that is not None.

    Args:
        fields: the values by name. An underscore of a name is shown as a space.
        width: of the column of names.
    """
    for name, value in fields.items():
        if value is not None:
            text = json.dumps(value) if isinstance(value, dict | list) else shown(value)
            typer.echo(f"{name.replace('_', ' '):<{width}} {plain(text)}")


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S%z}"
    if isinstance(value, timedelta):
        return short_duration(value)
    return str(value)


def plain(text: str) -> str:
    """Return text that can't move a terminal's cursor or change its colours."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def confirmed(action: str, question: str, yes: bool) -> bool:
    """Ask whether to go on.

    Args:
        action: the command, for the message.
        question: what would be done.
        yes: the answer is known.

    Raises:
        ConfigurationError: there is no terminal to ask on.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"{action}: there is no terminal to ask on, so nothing was changed: confirm with --yes"
        )
    return typer.confirm(question, err=True)


def whole_positive(text: str, refusal: str) -> int:
    """Read a positive number.

    Raises:
        ConfigurationError: it is none. `refusal` is the message.
    """
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) < 2**63:
        raise ConfigurationError(refusal)
    return int(text)


def repeated(show: Callable[[], None], watch: bool) -> None:
    """Show something once, or every two seconds until the command is interrupted.

    Args:
        show: prints it.
        watch: repeat it.
    """
    show()
    while watch:
        time.sleep(_WATCH_SECONDS)
        if sys.stdout.isatty():
            typer.echo("\x1b[H\x1b[2J\x1b[3J", nl=False)
        show()
