"""Ends attempts that were left to clients, and that no client has completed in time."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import TimeoutType

from delegator.completion.failures import timed_out, within_limit
from delegator.maintenance.lost_attempts import GivenUp, LostAttempts, back_off
from delegator.postgres.connections import Connection
from delegator.postgres.queue_asynchronous import AsynchronousStatements, OverdueAttempt
from delegator.postgres.queue_maintenance import BATCH, LostAttempt, MaintenanceStatements
from delegator.wire.codec import decode_payloads, encode_outcome
from delegator.wire.outcomes import Outcome, OutcomeStatus

_log = logging.getLogger(__name__)


class LeftOpenAttempts:
    """Times out attempts that handlers have left to clients."""

    def __init__(self, converter: DataConverter, lost: LostAttempts) -> None:
        """Prepare.

        Args:
            converter: the data converter, for failures.
            lost: gives jobs up.
        """
        self._converter = converter
        self._lost = lost

    async def time_out(self, connection: Connection, queue: MaintenanceStatements) -> int:
        """End overdue attempts of a queue: another attempt by the job's retry policy, or the outcome.

        Args:
            connection: where to.
            queue: the queue.

        Returns:
            Their number.
        """
        statements = AsynchronousStatements(queue.queue)
        given_up: list[GivenUp] = []
        count = 0
        while True:
            async with connection.transaction():
                overdue = await statements.overdue(connection, BATCH)
                failed = [await self._failed(attempt) for attempt in overdue]
                given_up += (await back_off(connection, queue, failed))[1]
            count += len(overdue)
            if len(overdue) < BATCH:
                break
        if given_up:
            await self._lost.give_up(connection, queue, given_up)
        if count:
            _log.info("open_attempts_timed_out", extra={"queue": queue.queue, "jobs": count})
        return count

    async def _failed(self, attempt: OverdueAttempt) -> tuple[LostAttempt, Failure, bytes]:
        """Return the attempt, its failure, and the failure's stored form."""
        failure = await self._failure(attempt)
        outcome = Outcome(OutcomeStatus.FAILED, failure.SerializeToString())
        encoded = await encode_outcome(outcome, self._converter.payload_codec)
        return LostAttempt._make(attempt[: len(LostAttempt._fields)]), failure, encoded

    async def _failure(self, attempt: OverdueAttempt) -> Failure:
        details: Sequence[Payload] = ()
        if attempt.heartbeat_details:
            try:
                decoded = await decode_payloads(attempt.heartbeat_details, self._converter.payload_codec)
                details = Payloads.FromString(decoded).payloads
            except Exception as error:  # a codec may raise any error; the timeout goes without its details
                _log.error("failure_unreadable", extra={"job_id": attempt.job_id, "reason": type(error).__name__})
        timeout_type = TimeoutType.START_TO_CLOSE if attempt.is_closed else TimeoutType.HEARTBEAT
        return within_limit(timed_out(timeout_type, details))
