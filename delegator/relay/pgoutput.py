"""Parses pgoutput, protocol version 1 (PostgreSQL manual, "Logical Replication Message Formats")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from struct import Struct
from struct import error as StructError
from typing import Final

from delegator.errors import WireError

BEGIN, COMMIT, INSERT, RELATION = b"BCIR"

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_TEXT: Final = ord("t")
_BEGIN = Struct(">QqI")
_COMMIT = Struct(">BQQq")
_RELATION = Struct(">I")
_COLUMN = Struct(">Ii")
_COUNT = Struct(">H")
_TUPLE: Final = 6
"""Where the values of a row begin: behind the message's type, the table's oid and `N`."""
_FIRST: Final = Struct(">HBI")
_SECOND: Final = Struct(">BI")


@dataclass(frozen=True, slots=True)
class Relation:
    """A published table as the server announces it before the first row, and after each change."""

    oid: int
    """What rows refer to it by."""
    schema: str
    """Its schema."""
    table: str
    """Its name."""
    columns: tuple[str, ...]
    """Names of its published columns, in the order of the values of a row."""


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


def parse_insert(data: bytes, at: int) -> tuple[bytes, bytes]:
    """Return the two values of a row, in their text form, from an Insert message whose type byte stands at `at`.

    Raises:
        WireError: the row has not exactly two values, or one of them is NULL.
        struct.error: it is cut short.
    """
    columns, first, length = _FIRST.unpack_from(data, at + _TUPLE)
    start = at + _TUPLE + _FIRST.size
    end = start + length
    second, size = _SECOND.unpack_from(data, end)
    rest = end + _SECOND.size
    if columns != 2 or first != _TEXT or second != _TEXT or rest + size != len(data):
        raise WireError("pgoutput row does not consist of two values")
    return data[start:end], data[rest:]


def parse_relation(data: bytes, at: int) -> Relation:
    """Read a Relation message whose type byte stands before `at`.

    Raises:
        WireError: it is cut short.
    """
    try:
        (oid,) = _RELATION.unpack_from(data, at)
        schema, at = _string(data, at + 4)
        table, at = _string(data, at)
        (count,) = _COUNT.unpack_from(data, at + 1)
        at += 3
        columns = []
        for _ in range(count):
            name, at = _string(data, at + 1)
            _type_oid, _modifier = _COLUMN.unpack_from(data, at)
            at += _COLUMN.size
            columns.append(name)
    except (StructError, ValueError, IndexError) as error:
        raise WireError(f"pgoutput Relation message is cut short: {type(error).__name__}") from None
    return Relation(oid, schema or "pg_catalog", table, tuple(columns))


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return str(data[at:end], "utf-8"), end + 1
