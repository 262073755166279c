"""Keeps queues apart: one that the database refuses, or whose table is locked, does not keep the others waiting."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from delegator.postgres.connections import Connection
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.runtime.backoff import Backoff

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=30)


class QueuesApart:
    """The queues of a maintenance process, and which of them are put aside for a while."""

    def __init__(self, queues: Sequence[MaintenanceStatements], database: DatabaseWatch) -> None:
        """Begin with all queues.

        Args:
            queues: the queues.
            database: gets what is wrong with a queue.
        """
        self._queues = queues
        self._database = database
        self._problems: set[str] = set()
        self._pauses: dict[str, Backoff] = {}
        self._until: dict[str, float] = {}
        self._tried: set[str] = set()
        self._failed: set[str] = set()

    @property
    def are_whole(self) -> bool:
        """Whether no queue has a problem."""
        return not self._problems

    async def each(self, connection: Connection, step: Callable[[MaintenanceStatements], Awaitable[None]]) -> None:
        """Do a step for each queue that is not put aside. A queue whose step fails is put aside.

        Args:
            connection: that the step uses.
            step: what to do for a queue.

        Raises:
            Exception: the connection was lost.
        """
        for queue in self._queues:
            await self.one(connection, queue, step)

    async def one(
        self,
        connection: Connection,
        queue: MaintenanceStatements,
        step: Callable[[MaintenanceStatements], Awaitable[None]],
    ) -> None:
        """Do a step for one queue, unless it is put aside. If the step fails, the queue is put aside.

        Args:
            connection: that the step uses.
            queue: the queue.
            step: what to do for it.

        Raises:
            Exception: the connection was lost.
        """
        name = queue.queue
        if self._until.get(name, 0.0) > time.monotonic():
            return
        self._tried.add(name)
        try:
            await step(queue)
        except Exception as error:
            if connection.closed:
                raise
            self._failed.add(name)
            self._problems.add(name)
            await self._database.note_error(error)
            pause = self._pauses.setdefault(name, Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))
            self._until[name] = time.monotonic() + pause.next()

    def worked(self, *, reports: bool = True) -> None:
        """Note the end of a turn: a queue whose steps all succeeded in it has no problem any more.

        Args:
            reports: tell the database's watch if no queue has a problem.
        """
        for name in self._tried - self._failed:
            self._problems.discard(name)
            self._pauses.pop(name, None)
            self._until.pop(name, None)
        self._tried, self._failed = set(), set()
        if reports and not self._problems:
            self._database.works()
