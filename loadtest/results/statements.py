"""The SQL statements that a PostgreSQL server ran in the measured window, as pg_stat_statements counts them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

QUEUE: Final = "queue"
"""Name of the PostgreSQL server that has the queue."""
TEMPORAL: Final = "temporal"
"""Name of Temporal's own PostgreSQL server."""

Group = tuple[str, str]
"""Verb and table of statements that belong together."""

_LABELS: Final = frozenset({"queryid", "verb", "table", "query"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; the field names are JSON keys, stable."""

    queryid: str
    """PostgreSQL's number of it. It is text, because it has more digits than a JSON number may."""
    verb: str
    """`INSERT`, `UPDATE`, `SELECT`, `BEGIN`, ..."""
    table: str
    """The table that it writes or reads first; empty: none."""
    query: str
    """Its beginning, with `$1` for constants."""
    calls: int
    """How often it ran."""
    rows: int
    """Rows that it returned or changed."""
    exec_ms: float
    """Milliseconds of execution."""
    wal_bytes: int
    """Bytes of write-ahead log, with those of the full-page images."""
    wal_fpi: int
    """Full-page images in the write-ahead log."""
    blocks: int
    """Blocks of tables and indexes that it looked at, in memory or on disk."""

    @property
    def group(self) -> Group:
        """Verb and table."""
        return self.verb, self.table


COUNTS: Final[Sequence[str]] = tuple(field.name for field in fields(Statement) if field.name not in _LABELS)
"""The fields that are counters."""


@dataclass(frozen=True, slots=True)
class ServerStatements:
    """The statements of one server; the field names are JSON keys, stable."""

    seconds: float
    """Length of the window."""
    statements: list[Statement]
    """What ran in the window, the most frequent first, without the load test's own statements."""
    background_seconds: float
    """Length of the look at the idle servers before the window; 0: there was none."""
    background: list[Statement]
    """What ran in that look."""
    own_calls: int
    """Calls in the window by which the load test looked at the queue and cleaned it. They are in no other number."""
    incomplete: bool
    """Whether counts are missing, because PostgreSQL removed statements from its list or the list was reset."""

    def total(self, count: str) -> float:
        """Return the sum over all statements of the window.

        Args:
            count: one of `COUNTS`.
        """
        return float(sum(getattr(statement, count) for statement in self.statements))

    def background_total(self, count: str) -> float:
        """Return what idle servers count in a time as long as the window.

        Args:
            count: one of `COUNTS`.
        """
        return sum(self._scaled(count).values())

    def net_total(self, count: str) -> float:
        """Return the sum without what idle servers count in the same time; see `background_total`."""
        return max(self.total(count) - self.background_total(count), 0)

    def net(self, count: str) -> dict[Group, float]:
        """Return the counts by verb and table, each without what idle servers count in the same time.

        Args:
            count: one of `COUNTS`.
        """
        idle = self._scaled(count)
        return {group: max(value - idle.get(group, 0), 0) for group, value in _grouped(self.statements, count).items()}

    def _scaled(self, count: str) -> dict[Group, float]:
        if not self.background_seconds:
            return {}
        scale = self.seconds / self.background_seconds
        return {group: value * scale for group, value in _grouped(self.background, count).items()}

    @classmethod
    def median(cls, runs: Sequence[ServerStatements]) -> ServerStatements:
        """Return the median of each number. A statement that a run did not need counts as 0.

        Args:
            runs: at least one.
        """
        return cls(
            seconds=statistics.median(run.seconds for run in runs),
            statements=_median([run.statements for run in runs]),
            background_seconds=statistics.median(run.background_seconds for run in runs),
            background=_median([run.background for run in runs]),
            own_calls=round(statistics.median(run.own_calls for run in runs)),
            incomplete=any(run.incomplete for run in runs),
        )


def medians_by_server(runs: Sequence[Mapping[str, ServerStatements]]) -> dict[str, ServerStatements]:
    """Return the medians of each server, over the runs that have it.

    Args:
        runs: the statements of each run, by server.
    """
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: ServerStatements.median([run[name] for run in runs if name in run]) for name in names}


def combined(one: Statement, other: Statement, sign: int) -> Statement:
    """Return a statement with the counts of another one added to its own.

    Args:
        one: the statement.
        other: the other one.
        sign: 1 to add, -1 to subtract.
    """
    return replace(one, **{count: getattr(one, count) + sign * getattr(other, count) for count in COUNTS})


def busiest_first(statements: Iterable[Statement]) -> list[Statement]:
    """Return the statements with the most calls first."""
    return sorted(statements, key=lambda statement: (-statement.calls, statement.query))


def _grouped(statements: Iterable[Statement], count: str) -> dict[Group, float]:
    groups: dict[Group, float] = {}
    for statement in statements:
        groups[statement.group] = groups.get(statement.group, 0) + getattr(statement, count)
    return groups


def _median(runs: Sequence[Sequence[Statement]]) -> list[Statement]:
    by_id = [{statement.queryid: statement for statement in run} for run in runs]
    samples = {queryid: statement for run in by_id for queryid, statement in run.items()}
    merged = []
    for queryid, sample in samples.items():
        found = [run.get(queryid) for run in by_id]
        counts: dict[str, Any] = {
            count: statistics.median(getattr(one, count) if one is not None else 0 for one in found) for count in COUNTS
        }
        counts |= {name: round(value) for name, value in counts.items() if name != "exec_ms"}
        merged.append(replace(sample, **counts))
    return busiest_first(merged)
