"""The statements by which operators cancel jobs and have them tried again at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from delegator_schema.options import PAUSED, PAUSED_RETRY_MS, REFUSED

from delegator.postgres.arrays import bytea_array, text_array
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import NEVER
from delegator.postgres.queue_statements import QueueStatements

# The workflow gets the outcome: inline if an enqueuer waits, else from the signaller.
_CANCEL_WAITING: Final = """
WITH stored AS (
    UPDATE {table} AS q
    SET outcome = 'canceled', result = canceled.result, {store_outcome}, fencing_token = {next_fencing_token}
    FROM unnest(%(job_id)b::text[], %(result)b::bytea[]) AS canceled (job_id, result)
    WHERE q.job_id = canceled.job_id AND q.outcome IS NULL AND q.workflow_id IS NOT NULL AND q.task_token IS NULL
      AND (q.lease_id IS NULL OR {holder_is_gone})
    RETURNING q.job_id, q.waiter_id
)
SELECT job_id, CASE WHEN waiter_id IS NULL THEN pg_notify('{maintenance}', '{outcome_stored}')
                    ELSE pg_notify('{channel}' || waiter_id, job_id) END
FROM stored
"""
_DELETE_PLAIN: Final = """
DELETE FROM {table} AS q
WHERE q.job_id = ANY(%(job_id)b::text[]) AND q.outcome IS NULL AND q.workflow_id IS NULL AND q.task_token IS NULL
  AND (q.lease_id IS NULL OR {holder_is_gone})
RETURNING q.job_id
"""
_ASK_TO_STOP: Final = """
UPDATE {table} AS q SET cancel_requested = true
WHERE q.job_id = ANY(%(job_id)b::text[]) AND q.outcome IS NULL AND q.task_token IS NULL AND {lease_is_live}
RETURNING q.job_id
"""
# A paused job is tried when the pause ends.
_RETRY: Final = f"""
WITH after_pause AS (
    UPDATE {{table}} AS q SET options = q.options #- ARRAY['{PAUSED}', '{PAUSED_RETRY_MS}']
    WHERE q.job_id = ANY(%(job_id)b::text[]) AND q.outcome IS NULL AND q.lease_id IS NULL
      AND q.retry_at >= {NEVER} AND q.options -> '{PAUSED}' ? '{PAUSED_RETRY_MS}'
    RETURNING q.job_id
), due AS (
    UPDATE {{table}} AS q SET retry_at = now()
    WHERE q.job_id = ANY(%(job_id)b::text[]) AND q.outcome IS NULL AND q.lease_id IS NULL
      AND q.retry_at > now() AND q.retry_at < {NEVER}
      AND (q.attempt > 0 OR coalesce(q.options ? '{REFUSED}', false))
    RETURNING q.job_id
), notified AS (
    SELECT pg_notify('{{maintenance}}', '') FROM due LIMIT 1
)
SELECT job_id FROM due WHERE (SELECT count(*) FROM notified) >= 0  -- a CTE runs only if a query reads it
UNION ALL
SELECT job_id FROM after_pause
"""


class SteeringStatements(QueueStatements):
    """Operators' statements on one queue's table."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self._cancel_waiting = self.statement(_CANCEL_WAITING)
        self._delete_plain = self.statement(_DELETE_PLAIN)
        self._ask_to_stop = self.statement(_ASK_TO_STOP)
        self._retry = self.statement(_RETRY)

    async def cancel_waiting(self, connection: Connection, jobs: Sequence[tuple[str, bytes]]) -> set[str]:
        """End jobs that do not run, with a stored outcome for their workflows. Return their ids.

        Args:
            connection: where to.
            jobs: (job id, the encoded outcome) of each. Jobs of activity tasks are left.
        """
        ordered = sorted(jobs)
        parameters = {
            "job_id": text_array([job_id for job_id, _ in ordered]),
            "result": bytea_array([result for _, result in ordered]),
        }
        cursor = await self.notifying.execute(connection, self._cancel_waiting, parameters, prepare=False)
        ended = {row[0] for row in await cursor.fetchall()}
        parameters = {"job_id": text_array([job_id for job_id, _ in ordered])}
        return ended | await self._ids(connection, self._delete_plain, ordered_ids=parameters["job_id"])

    async def ask_to_stop(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Ask running jobs to stop. Return their ids. Jobs of activity tasks are left."""
        return await self._ids(connection, self._ask_to_stop, ordered_ids=text_array(sorted(job_ids)))

    async def retry(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Make the next attempts of jobs that back off, or were refused, due now. Return their ids.

        Those of paused jobs are due when the pause ends.
        """
        return await self._ids(connection, self._retry, ordered_ids=text_array(sorted(job_ids)))

    async def _ids(self, connection: Connection, statement: bytes, *, ordered_ids: bytes) -> set[str]:
        cursor = await self.notifying.execute(connection, statement, {"job_id": ordered_ids}, prepare=False)
        return {row[0] for row in await cursor.fetchall()}
