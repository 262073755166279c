"""Attempts of the in-memory engine that handlers leave to clients by `activity.raise_complete_async()`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.client import AsyncActivityIDReference
from temporalio.converter import PayloadCodec

from delegator.completion.asynchronous import OpenAttempt
from delegator.postgres.dead_letters import Reason
from delegator.testing.rows import Row
from delegator.testing.service import Service
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.task_tokens import TaskToken
from http_workers.attempt import Ended


class InMemoryAttempts:
    """The open attempts of an engine; see `OpenAttempts`."""

    def __init__(self, service: Callable[[], Service]) -> None:
        """Prepare.

        Args:
            service: returns what runs the jobs.
        """
        self._service = service

    async def by_token(self, token: TaskToken) -> OpenAttempt | None:
        """See `OpenAttempts`."""
        return self._opened(self._row(token))

    async def by_id(self, reference: AsyncActivityIDReference) -> OpenAttempt | None:
        """See `OpenAttempts`."""
        for row in self._service().table.rows:
            if (
                reference.activity_id == row.activity_id
                and row.workflow_id == reference.workflow_id
                and reference.run_id in (None, row.run_id)
                and row.outcome is None
            ):
                return self._opened(row)
        return None

    async def heartbeat(self, attempt: OpenAttempt, details: bytes, codec: PayloadCodec | None) -> bool | None:
        """See `OpenAttempts`."""
        row = self._row(attempt.token)
        if row is None or row.job is None:
            return None
        row.job.details = Payloads.FromString(details).payloads
        if row.is_left_open:
            self._service().expect_heartbeat(row, row.job)
        return row.cancel_requested

    async def resolve(
        self, attempt: OpenAttempt, outcome: Outcome, dead_letter_reason: Reason | None, codec: PayloadCodec | None
    ) -> bool:
        """See `OpenAttempts`."""
        row = self._row(attempt.token)
        if row is None or row.job is None:
            return False
        completed = outcome.status is OutcomeStatus.COMPLETED
        ended = (
            Ended(row.job, result=outcome.body)
            if completed
            else Ended(row.job, failure=Failure.FromString(outcome.body).cause)
        )
        row.dead_letter = dead_letter_reason
        self._service().end_open(row, ended, outcome)
        return True

    async def retry(self, attempt: OpenAttempt, failure: Failure, delay: timedelta, codec: PayloadCodec | None) -> bool:
        """See `OpenAttempts`."""
        row = self._row(attempt.token)
        if row is None or row.job is None:
            return False
        await self._service().retry_open(row, Ended(row.job, failure=failure), failure, delay)
        return True

    def _row(self, token: TaskToken) -> Row | None:
        row = self._service().table.by_id.get(token.job_id)
        if row is None or row.outcome is not None or row.job is None or row.job.fencing_token != token.fencing_token:
            return None
        return row

    @staticmethod
    def _opened(row: Row | None) -> OpenAttempt | None:
        if row is None or row.job is None:
            return None
        due_at = row.due_at()
        return OpenAttempt(
            token=TaskToken(row.queue, *row.job.held),
            job_type=row.job_type,
            attempt=row.job.attempt,
            options=row.job.options,
            workflow_id=row.workflow_id,
            cancel_requested=row.cancel_requested,
            time_left=None if due_at is None else row.time_left(due_at),
        )
