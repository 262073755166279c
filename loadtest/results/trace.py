"""The SQL statements of one workflow, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TracedStatement:
    """One call; the field names are JSON keys, stable."""

    verb: str
    """`INSERT`, `UPDATE`, `SELECT`, `BEGIN`, ..."""
    table: str
    """The table that it writes or reads first; empty: none."""
    query: str
    """Its beginning, with `$1` for parameters."""
    ms: float
    """Milliseconds of execution."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """The statements of one transaction; the field names are JSON keys, stable."""

    at_ms: float
    """When its first statement ended, in milliseconds from the first one of all servers."""
    application: str
    """Name that the session has given itself; empty: none."""
    statements: Sequence[TracedStatement]
    """In their order, with BEGIN and COMMIT if the program sent them."""

    @property
    def ms(self) -> float:
        """Milliseconds of execution."""
        return sum(statement.ms for statement in self.statements)


@dataclass(frozen=True, slots=True)
class ServerTrace:
    """What one server ran; the field names are JSON keys, stable."""

    transactions: Sequence[Transaction]
    """In their order, without those of the background."""
    background: int
    """Transactions made of statements that idle servers and workers run too. They are in no other number."""

    @property
    def statements(self) -> int:
        """How many statements the transactions have."""
        return sum(len(transaction.statements) for transaction in self.transactions)


@dataclass(frozen=True, slots=True)
class Trace:
    """What all servers ran for one workflow."""

    arm: str
    """The arm."""
    servers: Mapping[str, ServerTrace]
    """By server, `temporal` and `queue`."""

    def to_json(self) -> dict[str, Any]:
        """Return the trace as a JSON object, stable keys."""
        return {
            "arm": self.arm,
            "servers": {
                name: asdict(server) | {"statements": server.statements} for name, server in self.servers.items()
            },
        }
