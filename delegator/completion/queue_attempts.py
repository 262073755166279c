"""Attempts that clients complete, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from temporalio.api.failure.v1 import Failure
from temporalio.client import AsyncActivityIDReference
from temporalio.converter import PayloadCodec

from delegator.completion.asynchronous import OpenAttempt
from delegator.completion.failures import error_type
from delegator.contracts import JobOptions
from delegator.errors import WireError
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import NewDeadLetter, Reason
from delegator.postgres.queue_asynchronous import AsynchronousStatements, OpenRow
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.wire.codec import encode_outcome, encode_payloads
from delegator.wire.options import decode_options
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.rows import row_problem
from delegator.wire.task_tokens import TaskToken

_MILLISECOND: Final = timedelta(milliseconds=1)


class QueueAttempts:
    """The open attempts of all declared queues; see `OpenAttempts`."""

    def __init__(
        self, connection: Callable[[str], AbstractAsyncContextManager[Connection]], queues: Sequence[str]
    ) -> None:
        """Prepare.

        Args:
            connection: lends a connection for statements of a queue.
            queues: the declared queues.
        """
        self._connection = connection
        self._queues = queues

    async def by_token(self, token: TaskToken) -> OpenAttempt | None:
        """See `OpenAttempts`."""
        async with self._connection(token.queue) as db:
            row = await AsynchronousStatements(token.queue).find(db, token.job_id, token.fencing_token)
        return None if row is None else _opened(token.queue, row)

    async def by_id(self, reference: AsyncActivityIDReference) -> OpenAttempt | None:
        """See `OpenAttempts`."""
        for queue in self._queues:
            async with self._connection(queue) as db:
                row = await AsynchronousStatements(queue).find_by_id(
                    db, reference.workflow_id, reference.run_id, reference.activity_id
                )
            if row is not None:
                return _opened(queue, row)
        return None

    async def heartbeat(self, attempt: OpenAttempt, details: bytes, codec: PayloadCodec | None) -> bool | None:
        """See `OpenAttempts`."""
        encoded = await encode_payloads(details, codec)
        queue, job_id, fencing_token = attempt.token
        async with self._connection(queue) as db:
            return await AsynchronousStatements(queue).heartbeat(db, job_id, fencing_token, encoded)

    async def resolve(
        self, attempt: OpenAttempt, outcome: Outcome, dead_letter_reason: Reason | None, codec: PayloadCodec | None
    ) -> bool:
        """See `OpenAttempts`."""
        encoded = await encode_outcome(outcome, codec)
        queue, job_id, fencing_token = attempt.token
        statements = AsynchronousStatements(queue)
        async with self._connection(queue) as db:
            if dead_letter_reason is None:
                return await statements.resolve(db, job_id, fencing_token, outcome.status.value, encoded)
            error = error_type(Failure.FromString(outcome.body).cause)
            dead = NewDeadLetter(job_id, fencing_token, outcome.status.value, encoded, dead_letter_reason.value, error)
            stored = await dead_letters.store_dead_letters(db, MaintenanceStatements(queue).table, [dead])
            await statements.notify_of_outcome(db)
            return bool(stored)

    async def retry(self, attempt: OpenAttempt, failure: Failure, delay: timedelta, codec: PayloadCodec | None) -> bool:
        """See `OpenAttempts`."""
        encoded = await encode_outcome(Outcome(OutcomeStatus.FAILED, failure.SerializeToString()), codec)
        queue, job_id, fencing_token = attempt.token
        row = (job_id, fencing_token, delay // _MILLISECOND, encoded, error_type(failure))
        async with self._connection(queue) as db:
            scheduled = await MaintenanceStatements(queue).back_off(db, [row])
            await AsynchronousStatements(queue).notify_of_retry(db)
            return bool(scheduled)


def _opened(queue: str, row: OpenRow) -> OpenAttempt:
    """Return the attempt of a row.

    Raises:
        WireError: only a later release can read the row.
    """
    problem = row_problem(row.format_version)
    if problem is not None:
        raise WireError(problem)
    options = JobOptions() if row.options is None else decode_options(row.options)
    return OpenAttempt(
        token=TaskToken(queue, row.job_id, row.fencing_token),
        job_type=row.job_type,
        attempt=row.attempt,
        options=options,
        workflow_id=row.workflow_id,
        cancel_requested=row.cancel_requested,
        time_left=None if row.deadline_ms is None else row.deadline_ms * _MILLISECOND,
    )
