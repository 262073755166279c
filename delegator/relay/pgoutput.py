"""Parses pgoutput, protocol version 1 (PostgreSQL manual, "Logical Replication Message Formats")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from struct import Struct
from struct import error as StructError
from typing import Final

from delegator.errors import WireError

BEGIN, COMMIT, INSERT, RELATION, TYPE = b"BCIRY"
NULL, TEXT, UNCHANGED = b"ntu"

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_BEGIN = Struct(">QqI")
_COMMIT = Struct(">BQQq")
_RELATION = Struct(">I")
_COLUMN = Struct(">Ii")
_COUNT = Struct(">H")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a published table."""

    name: str
    """Its name."""
    type_oid: int
    """Its type."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A published table as the server announces it before the first row, and after each change."""

    oid: int
    """What rows refer to it by."""
    schema: str
    """Its schema."""
    table: str
    """Its name."""
    columns: tuple[Column, ...]
    """In the order of the values of a row."""


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return str(data[at:end], "utf-8"), end + 1


def parse_begin(data: bytes, at: int) -> tuple[int, int]:
    """Read a Begin message whose type byte stands before `at`.

    Returns:
        Where the transaction's commit record begins in the WAL, and when it was committed, in microseconds since
        PostgreSQL's epoch.

    Raises:
        struct.error: it is cut short.
    """
    lsn, micros, _xid = _BEGIN.unpack_from(data, at)
    return lsn, micros


def parse_commit(data: bytes, at: int) -> int:
    """Return the position behind the commit, from a Commit message whose type byte stands before `at`.

    Raises:
        struct.error: it is cut short.
    """
    _flags, _lsn, end_lsn, _micros = _COMMIT.unpack_from(data, at)
    return int(end_lsn)


def parse_type(data: bytes, at: int) -> tuple[int, str]:
    """Return oid and name of a type that is not built in."""
    try:
        (oid,) = _RELATION.unpack_from(data, at)
        _schema, at = _string(data, at + 4)
        name, _ = _string(data, at)
    except (StructError, ValueError, IndexError) as error:
        raise WireError(f"pgoutput Type message is cut short: {type(error).__name__}") from None
    return oid, name


def parse_relation(data: bytes, at: int) -> Relation:
    """Parse a Relation message whose type byte stands before `at`."""
    try:
        (oid,) = _RELATION.unpack_from(data, at)
        schema, at = _string(data, at + 4)
        table, at = _string(data, at)
        (count,) = _COUNT.unpack_from(data, at + 1)
        at += 3
        columns = []
        for _ in range(count):
            name, at = _string(data, at + 1)
            type_oid, _modifier = _COLUMN.unpack_from(data, at)
            at += _COLUMN.size
            columns.append(Column(name, type_oid))
    except (StructError, ValueError, IndexError) as error:
        raise WireError(f"pgoutput Relation message is cut short: {type(error).__name__}") from None
    return Relation(oid, schema or "pg_catalog", table, tuple(columns))


def format_lsn(lsn: int) -> str:
    """Write a position as PostgreSQL does: `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Read a position as PostgreSQL writes it."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)
