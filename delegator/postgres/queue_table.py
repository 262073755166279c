"""The table of a queue (`custom_task_queue` and its siblings): the statements of enqueuers and workers together."""

from __future__ import annotations

from typing import Final, NamedTuple

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

_MOST_COUNTED: Final = 100_000

# A long queue is not counted to its end. Then its length is the planner's estimate, which costs nothing, and the share
# of each state is that of the rows that were counted. The index finds the oldest row, if it was published only once.
_DEPTH = f"""
SELECT count(*) FILTER (WHERE outcome IS NULL AND lease_id IS NULL AND retry_at IS NULL),
       count(*) FILTER (WHERE lease_id IS NOT NULL AND outcome IS NULL),
       count(*) FILTER (WHERE retry_at < {NEVER} AND lease_id IS NULL),
       count(*) FILTER (WHERE retry_at >= {NEVER} AND lease_id IS NULL),
       count(*) FILTER (WHERE outcome IS NOT NULL AND waiter_id IS NULL),
       count(*) FILTER (WHERE outcome IS NOT NULL AND waiter_id IS NOT NULL),
       coalesce(extract(epoch FROM now() - least(
           min(enqueued_at) FILTER (WHERE outcome IS NULL),
           (SELECT enqueued_at FROM {{table}} WHERE outcome IS NULL ORDER BY published_at LIMIT 1)
       )), 0)::float8,
       count(*),
       (SELECT CASE WHEN relpages > 0 THEN
               greatest(reltuples, 0) / relpages * pg_relation_size(oid) / current_setting('block_size')::int8 END
        FROM pg_class WHERE oid = '{{table}}'::regclass)::float8
FROM (SELECT outcome, waiter_id, lease_id, retry_at, enqueued_at FROM {{table}} LIMIT {_MOST_COUNTED}) AS counted
"""


class Depth(NamedTuple):
    """How many jobs a queue holds, by state. They are estimates if there are more than 100,000."""

    waiting: int = 0
    running: int = 0
    backing_off: int = 0
    paused: int = 0
    delivering: int = 0
    """Completed; the outcome waits for its signal."""
    stored: int = 0
    """Completed; an enqueuer reads, or has read, the outcome inline."""
    oldest_seconds: float = 0.0
    """The age of the oldest unfinished job."""

    @property
    def by_state(self) -> dict[str, int]:
        """The numbers, by the name of the state."""
        return dict(zip(self._fields[:-1], self[:-1], strict=True))


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
        if row is None:
            return Depth()
        *counts, oldest_seconds, counted, estimate = row
        if counted == _MOST_COUNTED and estimate is not None:
            counts = [round(count * max(1.0, estimate / counted)) for count in counts]
        return Depth._make((*counts, oldest_seconds))
