"""The statements of `custom_task_dead_letter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from delegator.store.database import Connection
from delegator.store.queue_table import OUTCOME_CHANNEL, QueueTable

_BURY = """
WITH dead AS MATERIALIZED (
    SELECT * FROM unnest(%(job_id)b::text[], %(lease_token)b::int8[], %(outcome)b::text[], %(result)b::bytea[],
                         %(reason)b::text[], %(error)b::text[])
             AS dead (job_id, lease_token, outcome, result, reason, error)
), stored AS (
    UPDATE {table} AS q
    SET outcome = dead.outcome, result = dead.result, settled_at = now(), lease_id = NULL, retry_at = NULL
    FROM dead
    WHERE q.job_id = dead.job_id AND q.lease_token = dead.lease_token AND q.outcome IS NULL
    RETURNING q.*, dead.reason, dead.error
), buried AS (
    INSERT INTO custom_task_dead_letter (queue, reason, error, failure, job_id, job_type, input, header, options,
                                         namespace, workflow_id, run_id, attempt, enqueued_at)
    SELECT %(queue)s, reason, error, result, job_id, job_type, input, header, options,
           namespace, workflow_id, run_id, attempt, enqueued_at
    FROM stored
), told AS (
    SELECT pg_notify('{channel}' || waiter_id, string_agg(job_id, ','))
    FROM (SELECT waiter_id, job_id, row_number() OVER (PARTITION BY waiter_id) / 90 AS part
          FROM stored WHERE waiter_id IS NOT NULL) AS parts
    GROUP BY waiter_id, part
)
SELECT job_id, waiter_id IS NOT NULL FROM stored
UNION ALL
SELECT NULL, true WHERE (SELECT count(*) FROM told) < 0  -- never a row, but a CTE nobody reads is not run
"""


class Dead(NamedTuple):
    """A job to be given up."""

    job_id: str
    lease_token: int
    outcome: str
    result: bytes
    """The outcome as the queue stores it; also kept as the dead letter's failure."""
    reason: str
    error: str
    """The error's type."""


async def bury(connection: Connection, table: QueueTable, dead: Sequence[Dead]) -> dict[str, bool]:
    """Move jobs to the dead letters and store their outcome in their rows, in one statement.

    Returns:
        The ids of those whose fence held, and whether a delegator waits inline for the outcome; if not, signal it
        and delete the row.
    """
    ordered = sorted(dead)
    cursor = await connection.execute(
        _BURY.format(table=table.name, channel=OUTCOME_CHANNEL).encode(),
        {
            "queue": table.queue,
            "job_id": [job.job_id for job in ordered],
            "lease_token": [job.lease_token for job in ordered],
            "outcome": [job.outcome for job in ordered],
            "result": [job.result for job in ordered],
            "reason": [job.reason for job in ordered],
            "error": [job.error for job in ordered],
        },
    )
    return dict(await cursor.fetchall())
