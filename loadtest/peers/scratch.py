"""What the peers share: their tables are in a database that belongs to the load test."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

from psycopg import sql

from delegator.postgres.connections import Connection
from loadtest.queues.contender import Contender

URL_VARIABLE: Final = "LOADTEST_PEER_URL"
"""Environment variable with the URL of the tables."""


class PeerQueue(Contender):
    """A queue whose tables are in a database of the load test."""

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: of the database that holds its tables.
        """
        self._url = url

    @property
    def database_url(self) -> str:
        """URL of the database that holds its tables."""
        return self._url

    @property
    def environment(self) -> Mapping[str, str]:
        """Where its tables are."""
        return {URL_VARIABLE: self._url}

    @abstractmethod
    async def install(self) -> None:
        """Create its tables."""

    async def tidy(self, connection: Connection) -> None:
        """Empty its tables."""
        names = sql.SQL(", ").join(sql.Identifier(table) for table in self.tables)
        await connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))
