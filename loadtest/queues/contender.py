"""What every queue can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from psycopg import sql

from delegator.postgres.connections import Connection
from loadtest.servers.crew import WorkerProcess

Enqueue = Callable[[Sequence[bytes]], Coroutine[Any, Any, None]]
"""Enqueues a job for each payload. All are committed when it returns."""


class Contender(ABC):
    """A queue in PostgreSQL with one worker process."""

    name: ClassVar[str]
    """Its name in tables and JSON."""
    batch: ClassVar[int]
    """Jobs that a producer enqueues at once, if the rate is not fixed."""
    producers: ClassVar[int]
    """Number of concurrent producers, if the rate is not fixed."""
    tables: ClassVar[Sequence[str]]
    """Its tables, the one that holds the jobs first."""
    settings: ClassVar[Mapping[str, object]]
    """The values that were tuned, for the report."""

    @property
    @abstractmethod
    def database_url(self) -> str:
        """URL of the database that holds its tables."""

    @property
    @abstractmethod
    def worker(self) -> WorkerProcess:
        """The worker process."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Environment variables of the worker process."""

    @abstractmethod
    def producer(self) -> AbstractAsyncContextManager[Enqueue]:
        """Connect a producer."""

    async def rows(self, connection: Connection, limit: int) -> int:
        """Return how many jobs are unfinished.

        Args:
            connection: to `database_url`.
            limit: stop counting there.
        """
        query = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) AS unfinished")
        cursor = await connection.execute(query.format(sql.Identifier(self.tables[0]), limit))
        row = await cursor.fetchone()
        return row[0] if row is not None else 0

    async def tidy(self, connection: Connection) -> None:
        """Remove what the last run left in the tables, so that all runs begin alike."""
        for table in self.tables:
            await connection.execute(sql.SQL("VACUUM (TRUNCATE) {}").format(sql.Identifier(table)))

    async def clear(self, connection: Connection) -> None:  # noqa: B027  (most have a database of their own, which is dropped)
        """Remove what a failed or interrupted run left. Its worker has ended.

        Args:
            connection: to `database_url`.
        """
