"""A connection for one command of an operator. Its errors say what to run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from delegator_schema.roles import MAINTENANCE

from delegator.config import Settings
from delegator.errors import DatabaseError, SchemaError, first_line
from delegator.postgres.connections import Connection, DatabaseAddress, connect
from delegator.postgres.schema_check import check


@asynccontextmanager
async def operator_connection(
    settings: Settings, command: str, *, statement_timeout: str | None = None
) -> AsyncIterator[Connection]:
    """Open a connection.

    Args:
        settings: where the database is.
        command: the command, such as `dlq`, shown in `pg_stat_activity`.
        statement_timeout: how long a statement may take, such as `10s`; None: as long as the server lets it.

    Raises:
        ConfigurationError: a queue's table or a column is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    session: dict[str, Any] = {} if statement_timeout is None else {"statement_timeout": statement_timeout}
    address = DatabaseAddress.of(settings)
    connection = await connect(address, application_name=f"delegator {command}", **session)
    try:
        async with connection:
            yield connection
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
        psycopg.errors.InsufficientPrivilege,
    ) as error:
        raise await _found(error, settings) from None
    except psycopg.errors.QueryCanceled as error:
        raise DatabaseError(f"the database took too long: {first_line(error)}") from None
    except psycopg.Error as error:
        raise DatabaseError(f"the database refuses: {first_line(error)}") from None


async def _found(error: psycopg.Error, settings: Settings) -> SchemaError:
    """Return the error that the schema check makes of it. It names the statement, queue or setting that mends it."""
    try:
        await check(settings, process=MAINTENANCE)
    except SchemaError as found:
        return found
    return SchemaError(f"{first_line(error)}: run `delegator migrate --check`")
