"""Runs a statement on an application's connection: of psycopg or of SQLAlchemy, whatever its driver.

Nothing here begins, commits or rolls back a transaction, beyond what the application's library does by itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from delegator.errors import ConfigurationError
from delegator.postgres.outbox_write import ROWS

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

Transaction: TypeAlias = "psycopg.Connection[Any] | Session | scoped_session[Any] | sa.Connection"
"""What a synchronous application writes with."""
AsyncTransaction: TypeAlias = (
    "psycopg.AsyncConnection[Any] | AsyncSession | async_scoped_session[Any] | AsyncConnection"
)
"""What an asynchronous application writes with."""

_PSYCOPG: Final = "%(rows)s"
_SQLALCHEMY: Final = ":rows"
_KINDS: Final = "a psycopg.Connection, a SQLAlchemy Session or a SQLAlchemy Connection"
_ASYNC_KINDS: Final = "a psycopg.AsyncConnection, a SQLAlchemy AsyncSession or a SQLAlchemy AsyncConnection"


def run(transaction: Transaction, statement: str, rows: str, *, autocommit: bool) -> list[str]:
    """Run a statement, and return the first column of its rows.

    Args:
        transaction: where.
        statement: the statement.
        rows: its parameter.
        autocommit: allow a connection that commits the statement at once.

    Raises:
        ConfigurationError: there is no transaction, or `transaction` is something else.
    """
    if isinstance(transaction, psycopg.Connection):
        _require_transaction(transaction, autocommit)
        with transaction.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(statement.replace(ROWS, _PSYCOPG).encode(), {"rows": rows})
            return [row[0] for row in cursor.fetchall()]
    if (orm := sys.modules.get("sqlalchemy.orm")) is not None:
        if isinstance(transaction, orm.scoped_session):
            transaction = transaction()
        if isinstance(transaction, orm.Session):
            return _run_in_session(transaction, statement, rows, autocommit)
    if (sqlalchemy := sys.modules.get("sqlalchemy")) is not None and isinstance(transaction, sqlalchemy.Connection):
        return _run_in_sqlalchemy(transaction, statement, rows, autocommit)
    raise _not_one(transaction, _KINDS)


async def run_async(transaction: AsyncTransaction, statement: str, rows: str, *, autocommit: bool) -> list[str]:
    """Run a statement; as `run`, for asynchronous connections."""
    if isinstance(transaction, psycopg.AsyncConnection):
        _require_transaction(transaction, autocommit)
        async with transaction.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(statement.replace(ROWS, _PSYCOPG).encode(), {"rows": rows})
            return [row[0] for row in await cursor.fetchall()]
    if (asyncio_part := sys.modules.get("sqlalchemy.ext.asyncio")) is not None:
        if isinstance(transaction, asyncio_part.async_scoped_session):
            transaction = transaction()
        if isinstance(transaction, asyncio_part.AsyncSession):
            ids: list[str] = await transaction.run_sync(_run_in_session, statement, rows, autocommit)
            return ids
        if isinstance(transaction, asyncio_part.AsyncConnection):
            found: list[str] = await transaction.run_sync(_run_in_sqlalchemy, statement, rows, autocommit)
            return found
    raise _not_one(transaction, _ASYNC_KINDS)


def _run_in_session(session: Session, statement: str, rows: str, autocommit: bool) -> list[str]:
    # The application's rows come first, so that their locks put this transaction in its order.
    if session.autoflush:
        session.flush()
    return _run_in_sqlalchemy(session.connection(), statement, rows, autocommit)


def _run_in_sqlalchemy(connection: sa.Connection, statement: str, rows: str, autocommit: bool) -> list[str]:
    from sqlalchemy import text

    if connection.dialect.name != "postgresql":
        raise ConfigurationError(f"the outbox is in PostgreSQL, and this connection is to {connection.dialect.name}")
    if not autocommit and getattr(connection.connection.dbapi_connection, "autocommit", False) is True:
        raise _no_transaction()
    result = connection.execute(text(statement.replace(ROWS, _SQLALCHEMY)), {"rows": rows})
    return [row[0] for row in result]


def _require_transaction(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], autocommit: bool) -> None:
    is_idle = connection.info.transaction_status == TransactionStatus.IDLE
    if connection.autocommit and is_idle and not autocommit:
        raise _no_transaction()


def _no_transaction() -> ConfigurationError:
    return ConfigurationError(
        "the connection is in autocommit mode and no transaction is open, so the outbox's row would not be written "
        "together with yours: open a transaction, or give autocommit=True"
    )


def _not_one(given: object, kinds: str) -> ConfigurationError:
    kind = type(given)
    return ConfigurationError(f"the outbox writes with {kinds}, not with {kind.__module__}.{kind.__qualname__}")
