"""The statements that pause jobs and free them again.

A paused job has `NEVER` as its next attempt's time. So no other statement takes it: no claim, no republication, no
timeout. Its row keeps what it had, under `paused` in its options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from delegator_schema.options import PAUSED, PAUSED_LEFT_MS, PAUSED_MS, PAUSED_RETRY_MS, PAUSED_SINCE_MS

from delegator.postgres.arrays import text_array
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import NEVER, PAUSES_OF_JOB
from delegator.postgres.queue_statements import QueueStatements

BATCH: Final = 2_000
"""Number of jobs that one statement changes. It bounds the size of a transaction."""

_NOW_MS: Final = "round(date_part('epoch', now()) * 1000)::int8"
_KEPT: Final = f"q.options -> '{PAUSED}'"

# A job that waits was paused when the pause began, or when it was enqueued since. Of one that backs off the row does
# not say when it began to. A deadline of infinity is none. Temporal counts the time of activity tasks itself.
_PAUSE: Final = f"""
WITH paused AS (
    SELECT q.job_id, since.at
    FROM {{table}} AS q
    CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) = 0 THEN NULL
                    WHEN q.retry_at IS NULL THEN greatest(min(pause.paused_at), q.published_at)
                    ELSE now() END AS at
        {PAUSES_OF_JOB}
    ) AS since
    WHERE q.lease_id IS NULL AND q.outcome IS NULL AND (q.retry_at IS NULL OR q.retry_at < {NEVER})
      AND since.at IS NOT NULL AND (q.deadline IS NULL OR q.deadline > since.at)
      AND {{condition}}
    ORDER BY q.job_id LIMIT {{limit}} FOR UPDATE OF q SKIP LOCKED
)
UPDATE {{table}} AS q
SET options = coalesce(q.options, jsonb_build_object()) || jsonb_build_object('{PAUSED}', jsonb_strip_nulls(
        jsonb_build_object(
            '{PAUSED_SINCE_MS}', round(date_part('epoch', paused.at) * 1000)::int8,
            '{PAUSED_RETRY_MS}', round(date_part('epoch', q.retry_at) * 1000)::int8,
            '{PAUSED_LEFT_MS}', CASE WHEN isfinite(q.deadline) AND q.task_token IS NULL
                                     THEN round(date_part('epoch', q.deadline - paused.at) * 1000)::int8 END))),
    retry_at = {NEVER}, lane = NULL, permit = NULL,
    deadline = CASE WHEN q.task_token IS NOT NULL THEN q.deadline END
FROM paused WHERE q.job_id = paused.job_id
"""

_IS_FREE: Final = f"""q.retry_at >= {NEVER} AND q.lease_id IS NULL AND q.outcome IS NULL AND q.options ? '{PAUSED}'
      AND NOT EXISTS (SELECT {PAUSES_OF_JOB})"""

# The sweeper republishes what is due.
_FREE: Final = f"""
WITH free AS (
    SELECT q.job_id FROM {{table}} AS q WHERE {_IS_FREE} ORDER BY q.job_id LIMIT {BATCH} FOR UPDATE OF q SKIP LOCKED
), freed AS (
    UPDATE {{table}} AS q
    SET retry_at = greatest(now(), to_timestamp(({_KEPT} ->> '{PAUSED_RETRY_MS}')::float8 / 1000)),
        deadline = CASE WHEN {_KEPT} ? '{PAUSED_LEFT_MS}'
                        THEN now() + ({_KEPT} ->> '{PAUSED_LEFT_MS}')::int8 * interval '1 millisecond'
                        ELSE q.deadline END,
        options = (q.options - '{PAUSED}') || jsonb_build_object('{PAUSED_MS}',
            coalesce((q.options ->> '{PAUSED_MS}')::int8, 0)
            + greatest(0, {_NOW_MS} - coalesce(({_KEPT} ->> '{PAUSED_SINCE_MS}')::int8, {_NOW_MS})))
    FROM free WHERE q.job_id = free.job_id
    RETURNING q.job_id
), notified AS (
    SELECT pg_notify('{{maintenance}}', '') FROM freed LIMIT 1
)
SELECT count(*) FROM freed WHERE (SELECT count(*) FROM notified) >= 0  -- a CTE runs only if a query reads it
"""

_TO_FREE: Final = f"SELECT count(*) FROM {{table}} AS q WHERE {_IS_FREE}"

_PAUSED: Final = f"""
SELECT count(*) FROM {{table}} AS q
WHERE q.retry_at >= {NEVER} AND q.lease_id IS NULL AND q.outcome IS NULL AND q.options ? '{PAUSED}'
  AND (%(job_type)s::text IS NULL OR q.job_type = %(job_type)s)
"""
_RUNNING: Final = """
SELECT count(*) FROM {table} AS q
WHERE q.lease_id IS NOT NULL AND q.outcome IS NULL AND {lease_is_live}
  AND (%(job_type)s::text IS NULL OR q.job_type = %(job_type)s)
"""
_LEFT: Final = """
SELECT count(*) FROM (
    SELECT FROM {table} AS q
    WHERE q.enqueued_at <= %(before)s AND (q.outcome IS NULL OR q.waiter_id IS NULL)
      AND (%(job_type)s::text IS NULL OR q.job_type = %(job_type)s)
    LIMIT %(most)s
) AS remaining
"""


class PauseStatements(QueueStatements):
    """Pauses the jobs of one queue, and frees them. What is paused stands in `custom_task_pause`."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)

        def pausing(condition: str) -> bytes:
            return self.statement(_PAUSE, condition=condition, limit=str(BATCH))

        self._pause_all = pausing("true")
        self._pause_named = pausing("q.job_id = ANY(%(job_id)b::text[])")
        self._pause_lanes = pausing("q.lane = ANY(%(lane)b::text[])")
        self._pause_due = pausing("(q.retry_at <= now() OR q.deadline <= now() + interval '2 seconds')")
        self._free = self.statement(_FREE)
        self._to_free = self.statement(_TO_FREE)
        self._paused = self.statement(_PAUSED)
        self._running = self.statement(_RUNNING)
        self._left = self.statement(_LEFT)

    async def pause_all(self, connection: Connection) -> int:
        """Pause all jobs that are to be paused and do not run. Return the number."""
        return await self._repeat(connection, self._pause_all, {})

    async def pause_named(self, connection: Connection, job_ids: Sequence[str]) -> int:
        """Pause those of some jobs that are to be paused and do not run. Return the number."""
        return await self._repeat(connection, self._pause_named, {"job_id": text_array(job_ids)})

    async def pause_lanes(self, connection: Connection, lanes: Sequence[str]) -> int:
        """Pause the jobs of some lines of an ordered queue that are to be paused. Return the number."""
        return await self._repeat(connection, self._pause_lanes, {"lane": text_array(lanes)})

    async def pause_due(self, connection: Connection) -> int:
        """Pause the jobs that are to be paused and would be tried or time out soon. Return the number."""
        return await self._repeat(connection, self._pause_due, {})

    async def to_free(self, connection: Connection) -> int:
        """Return how many paused jobs are not to be paused any more, and were not freed yet."""
        return await self._count(connection, self._to_free, {"queue": self.queue})

    async def free(self, connection: Connection) -> int:
        """Free the paused jobs that are not to be paused any more. Return the number.

        Their deadlines move by the time for which they were paused. Their next attempts are due when they would have
        been, or now.
        """
        total = 0
        while True:
            row = await (await self.notifying.execute(connection, self._free, {"queue": self.queue})).fetchone()
            freed = 0 if row is None else int(row[0])
            total += freed
            if freed < BATCH:
                return total

    async def paused(self, connection: Connection, job_type: str | None) -> int:
        """Return how many jobs are paused. Of all types if `job_type` is None."""
        return await self._count(connection, self._paused, {"job_type": job_type})

    async def running(self, connection: Connection, job_type: str | None) -> int:
        """Return how many jobs run. Of all types if `job_type` is None."""
        return await self._count(connection, self._running, {"job_type": job_type})

    async def left(self, connection: Connection, job_type: str | None, before: Any, most: int) -> int:
        """Return how many jobs that were enqueued before a time have not ended, or not been delivered.

        Args:
            connection: where to.
            job_type: the type; None: all types.
            before: the time, by the database's clock.
            most: how many are counted.
        """
        parameters = {"job_type": job_type, "before": before, "most": most}
        return await self._count(connection, self._left, parameters)

    async def _count(self, connection: Connection, statement: bytes, parameters: dict[str, Any]) -> int:
        row = await (await connection.execute(statement, parameters)).fetchone()
        return 0 if row is None else int(row[0])

    async def _repeat(self, connection: Connection, statement: bytes, parameters: dict[str, Any]) -> int:
        total = 0
        while True:
            cursor = await connection.execute(statement, {"queue": self.queue, **parameters}, prepare=False)
            total += cursor.rowcount
            if cursor.rowcount < BATCH:
                return total
