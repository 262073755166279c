"""The table of a queue (`custom_task_queue` and its siblings): the statements of enqueuers and workers together."""

from __future__ import annotations

from delegator.postgres.connections import Connection
from delegator.postgres.new_jobs import NewJob
from delegator.postgres.queue_enqueue import EnqueueStatements, StoredOutcome
from delegator.postgres.queue_retry import NextAttempt, RetryStatements
from delegator.postgres.queue_worker import AttemptOutcome, Claimed, WorkerStatements

__all__ = [
    "AttemptOutcome",
    "Claimed",
    "NewJob",
    "NextAttempt",
    "QueueTable",
    "StoredOutcome",
]

_DEPTH = """
SELECT count(*) FILTER (WHERE outcome IS NULL AND lease_id IS NULL AND retry_at IS NULL),
       count(*) FILTER (WHERE lease_id IS NOT NULL AND outcome IS NULL),
       count(*) FILTER (WHERE retry_at IS NOT NULL AND lease_id IS NULL),
       coalesce(extract(epoch FROM now() - min(enqueued_at) FILTER (WHERE outcome IS NULL)), 0)::float8
FROM {table}
"""


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

    async def depth(self, connection: Connection) -> tuple[int, int, int, float]:
        """Return the number of waiting, running and backing-off jobs, and the age of the oldest job in seconds."""
        cursor = await connection.execute(self._depth)
        row = await cursor.fetchone()
        return row if row is not None else (0, 0, 0, 0.0)
