"""Says what an error of PostgreSQL means for the loop that met it. There is one table, by SQLSTATE class."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

import psycopg


class ErrorClass(StrEnum):
    """What a loop should do about an error."""

    UNAVAILABLE = "unavailable"
    """The server is away, full, read-only, or it interrupted the statement. The same statement succeeds later."""
    REFUSED = "refused"
    """A privilege, a table, a column or a role is missing. Only a person can fix it. The loop tries again."""
    DATA = "data"
    """A row or a parameter is bad. The same statement fails again, so the rows must be handled one by one."""


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_CLASS: Final = MappingProxyType(
    {
        "0A": ErrorClass.REFUSED,  # feature not supported, for one a cached plan whose result type changed
        "08": ErrorClass.UNAVAILABLE,  # connection exception
        "21": ErrorClass.DATA,  # cardinality violation
        "22": ErrorClass.DATA,  # data exception
        "23": ErrorClass.DATA,  # integrity constraint violation
        "25": ErrorClass.UNAVAILABLE,  # invalid transaction state, for one a read-only server
        "26": ErrorClass.UNAVAILABLE,  # invalid statement name: a pooler gave the session to somebody else
        "28": ErrorClass.REFUSED,  # invalid authorization
        "3D": ErrorClass.REFUSED,  # no such database
        "3F": ErrorClass.REFUSED,  # no such schema
        "40": ErrorClass.UNAVAILABLE,  # transaction rollback: deadlock, serialization failure
        "42": ErrorClass.REFUSED,  # missing privilege, table, column or function
        "44": ErrorClass.DATA,  # WITH CHECK OPTION violation
        "53": ErrorClass.UNAVAILABLE,  # insufficient resources: disk full, too many connections
        "54": ErrorClass.DATA,  # program limit exceeded: a value is too large
        "55": ErrorClass.UNAVAILABLE,  # object not in prerequisite state: lock not available
        "57": ErrorClass.UNAVAILABLE,  # operator intervention: shutdown, statement_timeout
        "58": ErrorClass.UNAVAILABLE,  # system error: I/O
    }
)


def classify(error: psycopg.Error) -> ErrorClass:
    """Return what an error means for the loop that met it.

    An error without an SQLSTATE comes from the client's side: of the connection, or of a value that psycopg can't
    convert. An unknown class counts as unavailable, so that the loop goes on.
    """
    if error.sqlstate is not None:
        return _BY_CLASS.get(error.sqlstate[:2], ErrorClass.UNAVAILABLE)
    if isinstance(error, (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)):
        return ErrorClass.DATA
    return ErrorClass.UNAVAILABLE


def without_values(error: psycopg.Error) -> str:
    """Return what an error of class `DATA` is, without the server's text, which may quote the value."""
    return f"{type(error).__name__} ({error.sqlstate or 'a value that psycopg does not convert'})"
