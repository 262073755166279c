"""The table of a queue (`custom_task_queue` and its siblings): the statements of enqueuers and workers together."""

from __future__ import annotations

from typing import NamedTuple

from delegator.postgres.connections import Connection
from delegator.postgres.fragments import NEVER
from delegator.postgres.new_jobs import NewJob
from delegator.postgres.queue_enqueue import EnqueueStatements, StoredOutcome
from delegator.postgres.queue_retry import NextAttempt, RetryStatements
from delegator.postgres.queue_worker import AttemptOutcome, Claimed, WorkerStatements

__all__ = [
    "AttemptOutcome",
    "Claimed",
    "Depth",
    "NewJob",
    "NextAttempt",
    "QueueTable",
    "StoredOutcome",
]

_DEPTH = f"""
SELECT count(*) FILTER (WHERE outcome IS NULL AND lease_id IS NULL AND retry_at IS NULL),
       count(*) FILTER (WHERE lease_id IS NOT NULL AND outcome IS NULL),
       count(*) FILTER (WHERE retry_at < {NEVER} AND lease_id IS NULL),
       count(*) FILTER (WHERE retry_at >= {NEVER} AND lease_id IS NULL),
       coalesce(extract(epoch FROM now() - min(enqueued_at) FILTER (WHERE outcome IS NULL)), 0)::float8
FROM {{table}}
"""


class Depth(NamedTuple):
    """How many jobs a queue holds."""

    waiting: int = 0
    running: int = 0
    backing_off: int = 0
    paused: int = 0
    oldest_seconds: float = 0.0
    """The age of the oldest unfinished job."""


class QueueTable(EnqueueStatements, WorkerStatements, RetryStatements):
    """The statements of one queue's table."""

    def __init__(self, queue: str, *, ordered: bool = False) -> None:
        """Prepare the statements for `queue`.

        Args:
            queue: the queue.
            ordered: hand its jobs out by priority and fairness.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue, ordered=ordered)
        self._depth = self.statement(_DEPTH)

    async def depth(self, connection: Connection) -> Depth:
        """Return the number of jobs, by what holds them up, and the age of the oldest."""
        cursor = await connection.execute(self._depth)
        row = await cursor.fetchone()
        return Depth() if row is None else Depth(*row)
