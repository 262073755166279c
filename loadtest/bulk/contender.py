"""What a queue is to the runner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from psycopg import sql

from delegator.postgres.connections import Connection
from loadtest.processes import WorkerProcess

Enqueue = Callable[[Sequence[bytes]], Coroutine[Any, Any, None]]
"""Enqueues a job for each payload; they are committed when it returns."""


class Contender(ABC):
    """A queue in PostgreSQL with one worker process."""

    name: ClassVar[str]
    """What tables and JSON call it."""
    batch: ClassVar[int]
    """Jobs handed over by a producer at once, where the rate is not fixed."""
    producers: ClassVar[int]
    """Producers at work at a time, where the rate is not fixed."""
    tables: ClassVar[Sequence[str]]
    """Its tables, the one that holds the jobs first."""
    settings: ClassVar[Mapping[str, object]]
    """What was tuned, for the report."""

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
        """What the worker process finds in its environment."""

    @abstractmethod
    def producer(self) -> AbstractAsyncContextManager[Enqueue]:
        """Connect what enqueues."""

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
        """Clear away what the run before left in the tables: each begins with the same."""
        for table in self.tables:
            await connection.execute(sql.SQL("VACUUM (TRUNCATE) {}").format(sql.Identifier(table)))

    async def clear(self, connection: Connection) -> None:  # noqa: B027  (most have a database of their own, which goes)
        """Remove what a run that failed or was broken off has left; its worker has ended.

        Args:
            connection: to `database_url`.
        """
