"""Reads single SQL statements from a PostgreSQL server's log.

The server logs each statement with its time while a setting is on. Parameters are not logged: they may hold payloads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg

from delegator.postgres.connections import connect
from loadtest.meters.statement_texts import described
from loadtest.results.trace import ServerTrace, TracedStatement, Transaction

SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "log_line_prefix": "%m [%p] %d %a|",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_destination": "stderr",
        "log_timezone": "UTC",
    }
)
"""Settings of a PostgreSQL server whose log can be read here."""

_OURS: Final = "loadtest"
_SWITCH: Final = "ALTER SYSTEM SET log_min_duration_statement = {value}"
_RELOAD: Final = "SELECT pg_reload_conf()"
_SHOWN: Final = "SELECT current_setting('log_min_duration_statement')"
_SWITCH_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.01
_LINE: Final = re.compile(
    r"(?P<moment>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \S+ \[(?P<pid>\d+)\] \S* (?P<application>[^|]*)\|"
    r"(?P<level>[A-Z]+):  (?P<message>.*)",
    re.DOTALL,
)
_RAN: Final = re.compile(r"duration: (?P<ms>[\d.]+) ms  (?:statement|execute [^:]*): (?P<text>.*)", re.DOTALL)
_BEGINS: Final = frozenset({"BEGIN", "START"})
_ENDS: Final = frozenset({"COMMIT", "ROLLBACK", "END", "ABORT"})


@dataclass(frozen=True, slots=True)
class LoggingServer:
    """A server that was started with `SETTINGS`."""

    url: str = field(repr=False)
    """URL of one of its databases. The user must be a superuser."""
    log: Path
    """Its log."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A transaction and when it was."""

    moment: datetime
    """When its first statement ended."""
    transaction: Transaction
    """The transaction; its `at_ms` is 0."""


@asynccontextmanager
async def logged(server: LoggingServer) -> AsyncIterator[list[Logged]]:
    """Log the statements of a server while a block runs. The list is filled when the block has ended.

    Args:
        server: the server.

    Raises:
        TimeoutError: the server does not take the setting.
    """
    found: list[Logged] = []
    async with await connect(server.url, application_name=_OURS) as connection:
        begin = server.log.stat().st_size
        await _switch(connection, 0)
        try:
            yield found
        finally:
            await _switch(connection, -1)
    with server.log.open("rb") as file:
        file.seek(begin)
        found += transactions(file.read().decode(errors="replace"))


def transactions(text: str) -> list[Logged]:
    """Find the transactions in a part of a log, without the load test's own.

    Args:
        text: whole lines.
    """
    open_of: dict[str, list[tuple[datetime, str, TracedStatement]]] = {}
    closed: list[list[tuple[datetime, str, TracedStatement]]] = []
    for pid, moment, application, statement in _statements(text):
        current = open_of.get(pid)
        if statement.verb in _BEGINS:
            if current is not None:  # its end is not in the text
                closed.append(current)
            open_of[pid] = [(moment, application, statement)]
        elif current is None:
            closed.append([(moment, application, statement)])
        else:
            current.append((moment, application, statement))
            if statement.verb in _ENDS:
                closed.append(open_of.pop(pid))
    closed += open_of.values()
    found = [Logged(one[0][0], Transaction(0.0, one[0][1], [statement for _, _, statement in one])) for one in closed]
    return sorted(found, key=lambda one: one.moment)


def traced(found: Sequence[Logged], idle: Sequence[Logged], start: datetime) -> ServerTrace:
    """Return a server's trace, without the transactions whose statements idle servers run too.

    Args:
        found: the transactions of the workflow's time.
        idle: those of an idle time.
        start: moment 0.
    """
    usual = {statement.query for one in idle for statement in one.transaction.statements}
    foreground = [one for one in found if any(statement.query not in usual for statement in one.transaction.statements)]
    return ServerTrace(
        [
            Transaction(
                (one.moment - start).total_seconds() * 1000, one.transaction.application, one.transaction.statements
            )
            for one in foreground
        ],
        len(found) - len(foreground),
    )


async def _switch(connection: psycopg.AsyncConnection, value: int) -> None:
    await connection.execute(psycopg.sql.SQL(_SWITCH).format(value=psycopg.sql.Literal(value)))
    await connection.execute(_RELOAD)
    async with asyncio.timeout(_SWITCH_SECONDS):
        # The postmaster tells all sessions at once, so ours knows when the others do.
        while True:
            if await (await connection.execute(_SHOWN)).fetchone() == (str(value),):
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _statements(text: str) -> Iterator[tuple[str, datetime, str, TracedStatement]]:
    for entry in _entries(text.splitlines()):
        line = _LINE.match(entry)
        ran = _RAN.match(line["message"]) if line else None
        if line is None or ran is None or line["application"] == _OURS:
            continue
        statement = TracedStatement(*described(ran["text"]), float(ran["ms"]))
        yield line["pid"], datetime.fromisoformat(line["moment"]), line["application"], statement


def _entries(lines: Iterable[str]) -> Iterator[str]:
    """Join the lines of each entry: those after its first one begin with a tab."""
    entry: list[str] = []
    for line in lines:
        if entry and not line.startswith("\t"):
            yield "\n".join(entry)
            entry = []
        entry.append(line)
    if entry:
        yield "\n".join(entry)
