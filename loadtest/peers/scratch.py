"""What the peers' queues share: a database that is the load test's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from delegator.store.database import Connection

URL_VARIABLE: Final = "LOADTEST_PEER_URL"
"""Where a worker process finds its tables."""


async def truncate(connection: Connection, tables: Sequence[str]) -> None:
    """Empty tables of the load test's own database.

    Args:
        connection: to it.
        tables: their names.
    """
    names = sql.SQL(", ").join(sql.Identifier(table) for table in tables)
    await connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))
