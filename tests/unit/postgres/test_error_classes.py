"""What a loop does about an error of PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from delegator.postgres.error_classes import ErrorClass, classify

EXPECTED = {
    errors.ReadOnlySqlTransaction: ErrorClass.UNAVAILABLE,
    errors.DeadlockDetected: ErrorClass.UNAVAILABLE,
    errors.DiskFull: ErrorClass.UNAVAILABLE,
    errors.TooManyConnections: ErrorClass.UNAVAILABLE,
    errors.LockNotAvailable: ErrorClass.UNAVAILABLE,
    errors.QueryCanceled: ErrorClass.UNAVAILABLE,
    errors.AdminShutdown: ErrorClass.UNAVAILABLE,
    errors.InternalError_: ErrorClass.UNAVAILABLE,
    errors.InvalidSqlStatementName: ErrorClass.UNAVAILABLE,
    errors.InsufficientPrivilege: ErrorClass.REFUSED,
    errors.UndefinedTable: ErrorClass.REFUSED,
    errors.UndefinedColumn: ErrorClass.REFUSED,
    errors.InvalidPassword: ErrorClass.REFUSED,
    errors.InvalidCatalogName: ErrorClass.REFUSED,
    errors.NumericValueOutOfRange: ErrorClass.DATA,
    errors.DatetimeFieldOverflow: ErrorClass.DATA,
    errors.CheckViolation: ErrorClass.DATA,
    errors.ProgramLimitExceeded: ErrorClass.DATA,
    psycopg.OperationalError: ErrorClass.UNAVAILABLE,
    psycopg.InterfaceError: ErrorClass.UNAVAILABLE,
    psycopg.DataError: ErrorClass.DATA,
}


@pytest.mark.parametrize("error", EXPECTED, ids=lambda error: error.__name__)
def test_classify(error: type[psycopg.Error]) -> None:
    """Each error has the class that its SQLSTATE, or without one its type, stands for."""
    assert classify(error("x")) is EXPECTED[error]


def test_unknown_class() -> None:
    """A class that the table does not know counts as unavailable, so that the loop goes on."""

    class NewError(psycopg.Error):
        sqlstate = "ZZ123"

    assert classify(NewError()) is ErrorClass.UNAVAILABLE
