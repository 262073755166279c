"""The workers' statements for jobs that are to be tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from delegator_schema.options import REFUSED, REFUSED_MS, REFUSED_REASON, SCHEDULE_TO_CLOSE_MS, SCHEDULE_TO_START_MS

from delegator.contracts import DYNAMIC_TYPE
from delegator.postgres.arrays import bytea_array, int4_array, int8_array, text_array
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import NEVER, START_DELAY
from delegator.postgres.queue_statements import QueueStatements, held_rows

_OPTIONS: Final = f"""CASE WHEN failed.refused_reason IS NOT NULL
                   THEN coalesce(q.options, jsonb_build_object())
                        || jsonb_build_object('{REFUSED}', jsonb_build_object('{REFUSED_REASON}', failed.refused_reason,
                                                                              '{REFUSED_MS}', failed.refused_ms))
                   WHEN q.options ? '{REFUSED}' THEN q.options - '{REFUSED}'
                   ELSE q.options END"""

# A job that has not begun gets its first deadline back: the claim has changed it to that of a job that has.
_RETRY = f"""
UPDATE {{table}} AS q
SET retry_at = now() + CASE WHEN q.cancel_requested THEN 0 ELSE failed.delay_ms END * interval '1 millisecond',
    lease_id = NULL, lane = NULL, permit = NULL, last_failure = coalesce(failed.failure, q.last_failure),
    attempt = failed.attempt,
    fencing_token = {{next_fencing_token}},
    options = CASE WHEN failed.error IS NULL THEN {_OPTIONS}
                   ELSE coalesce({_OPTIONS}, jsonb_build_object()) || {{with_attempt}} END,
    deadline = CASE WHEN failed.attempt = 0 AND q.options ? '{SCHEDULE_TO_START_MS}'
                    THEN q.enqueued_at + least((q.options ->> '{SCHEDULE_TO_CLOSE_MS}')::int8,
                                               (q.options ->> '{SCHEDULE_TO_START_MS}')::int8)
                                         * interval '1 millisecond' + {START_DELAY}
                    ELSE q.deadline END
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(delay_ms)b::int8[], %(failure)b::bytea[],
            %(attempt)b::int4[], %(refused_reason)b::text[], %(refused_ms)b::int8[], %(error)b::text[],
            %(started_ms)b::int8[], %(holder)b::text[])
     AS failed (job_id, fencing_token, delay_ms, failure, attempt, refused_reason, refused_ms, error, started_ms,
                holder)
WHERE q.job_id = failed.job_id AND q.fencing_token = failed.fencing_token AND q.outcome IS NULL
RETURNING q.job_id, pg_notify('{{maintenance}}', '')
"""

_OFFER_REFUSED = f"""
WITH offered AS (
    UPDATE {{table}} SET retry_at = now()
    WHERE retry_at > now() AND retry_at < {NEVER} AND outcome IS NULL AND lease_id IS NULL
      AND (job_type = ANY(%(job_types)s) OR '{DYNAMIC_TYPE}' = ANY(%(job_types)s))
      AND options -> '{REFUSED}' ->> '{REFUSED_REASON}' = %(reason)s
    RETURNING job_id
), notified AS (
    SELECT pg_notify('{{maintenance}}', '') FROM offered LIMIT 1
)
SELECT count(*) FROM offered WHERE (SELECT count(*) FROM notified) >= 0  -- a CTE runs only if a query reads it
"""


class NextAttempt(NamedTuple):
    """What a row becomes when its job is to be tried again."""

    job_id: str
    fencing_token: int
    delay_ms: int
    """Milliseconds until then."""
    failure: bytes | None
    """The failure of the attempt; None: the row keeps the one it has."""
    attempt: int
    """Number of attempts that count."""
    refused_reason: str | None = None
    """Why the worker could not begin the attempt, a `Reason`; None: it could."""
    refused_ms: int | None = None
    """With `refused_reason`: the sum of such delays of this job, this one included."""
    error: str | None = None
    """The type of the error of an attempt that counts, for operators; None: the row keeps no attempt."""
    started_ms: int | None = None
    """With `error`: when the attempt began, in ms since 1970."""
    holder: str | None = None
    """With `error`: the process that ran it."""


class RetryStatements(QueueStatements):
    """Statements that schedule next attempts in one queue's table."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self._retry = self.statement(_RETRY)
        self._offer_refused = self.statement(_OFFER_REFUSED)

    async def retry(self, connection: Connection, failed: Sequence[NextAttempt]) -> set[str]:
        """Schedule next attempts. Return the ids of the jobs whose token still matched."""
        ordered = sorted(failed)
        cursor = await self.notifying.execute(
            connection,
            self._retry,
            {
                **held_rows([job[:2] for job in ordered]),
                "delay_ms": int8_array([job.delay_ms for job in ordered]),
                "failure": bytea_array([job.failure for job in ordered]),
                "attempt": int4_array([job.attempt for job in ordered]),
                "refused_reason": text_array([job.refused_reason for job in ordered]),
                "refused_ms": int8_array([job.refused_ms for job in ordered]),
                "error": text_array([job.error for job in ordered]),
                "started_ms": int8_array([job.started_ms for job in ordered]),
                "holder": text_array([job.holder for job in ordered]),
            },
            prepare=False,
        )
        return {row[0] for row in await cursor.fetchall()}

    async def offer_refused(self, connection: Connection, job_types: Sequence[str], reason: str) -> int:
        """Offer jobs again at once that workers refused. Return the number.

        Args:
            connection: where to.
            job_types: their types.
            reason: why they were refused.
        """
        parameters = {"job_types": list(job_types), "reason": reason}
        row = await (await self.notifying.execute(connection, self._offer_refused, parameters)).fetchone()
        return 0 if row is None else int(row[0])
