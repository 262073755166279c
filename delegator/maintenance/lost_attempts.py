"""Ends the attempts of workers that died. A lost lease is a failed attempt, and the job's retry policy decides."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, TypeAlias

from delegator_schema.options import WORKER_LOST
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import TimeoutType

from delegator.completion.failures import Ending, error_type, failed_outcome, timed_out
from delegator.completion.retry import GiveUp, decide
from delegator.contracts import JobOptions
from delegator.errors import WireError
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import NewDeadLetter, Reason
from delegator.postgres.queue_maintenance import BATCH, LostAttempt, MaintenanceStatements
from delegator.wire.codec import plain_outcome
from delegator.wire.options import decode_options
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.rows import row_problem

_log = logging.getLogger(__name__)
_MILLISECOND: Final = timedelta(milliseconds=1)
_APART: Final = timedelta(milliseconds=100)
_MOST_STEPS: Final = 50
"""Jobs whose worker died begin again one after another, `_APART` after each other, or some together if they are more
than these. So most of them have ended when the one that killed the worker begins, if there is one."""
_UNTIL_STORED: Final = timedelta(minutes=1)
"""How long a job that is given up stays free of workers until its outcome is stored. If this process dies between the
two statements, the job runs once more."""


GivenUp: TypeAlias = tuple[LostAttempt, Failure, GiveUp]
"""A job that gets no further attempt, the failure of its last one, and why it gets none."""


class LostAttempts:
    """Ends attempts whose lease expired: another attempt after the policy's back-off, or the outcome."""

    def __init__(self, converter: DataConverter, identity: str, metrics: MaintenanceMetrics) -> None:
        """Prepare.

        Args:
            converter: the data converter.
            identity: shown in failures.
            metrics: this process's series.
        """
        self._codec = converter.payload_codec
        self._identity = identity
        self._metrics = metrics

    async def back_off(
        self, connection: Connection, queue: MaintenanceStatements, leases: Sequence[int]
    ) -> list[GivenUp]:
        """End the attempts of expired leases, and schedule those that retry policies allow.

        Temporal decides about the next attempts of activity tasks: the signaller tells it that these have failed.

        Args:
            connection: in the transaction that has locked the leases.
            queue: the queue.
            leases: the expired leases.

        Returns:
            The jobs that get no further attempt. Give them to `give_up` after the transaction.
        """
        failure = self._failure()
        encoded = plain_outcome(Outcome(OutcomeStatus.FAILED, failure.SerializeToString()), self._codec)
        given_up: list[GivenUp] = []
        while lost := await queue.lost_attempts(connection, leases):
            failed = [(job, failure, encoded) for job in lost]
            freed, last = await back_off(connection, queue, failed, WORKER_LOST, apart=True)
            given_up += last
            self._metrics.lost_attempts.labels(queue.table.queue).inc(freed)
            _log.warning("attempts_lost", extra={"queue": queue.table.queue, "jobs": freed})
            if len(lost) < BATCH:
                break
        while tasks := await queue.lost_tasks(connection, leases):
            ended = await queue.time_out(connection, [(*task, encoded) for task in tasks])
            self._metrics.lost_attempts.labels(queue.table.queue).inc(ended)
            _log.warning("attempts_lost", extra={"queue": queue.table.queue, "jobs": ended})
        return given_up

    async def give_up(
        self,
        connection: Connection,
        queue: MaintenanceStatements,
        given_up: Sequence[GivenUp],
    ) -> None:
        """Store the outcomes of jobs that get no further attempt. Those whose attempts are exhausted are dead letters.

        Args:
            connection: where to.
            queue: the queue.
            given_up: what `back_off` returned.
        """
        ended: list[tuple[str, int, bytes]] = []
        dead: list[NewDeadLetter] = []
        for job, failure, decision in given_up:
            outcome = failed_outcome(
                failure,
                job_id=job.job_id,
                job_type=job.job_type,
                identity=self._identity,
                retry_state=decision.retry_state,
                ending=Ending.TIMED_OUT,
            )
            encoded = plain_outcome(outcome, self._codec)
            exhausted = decision.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED
            if exhausted or job.workflow_id is None:
                reason = Reason.ATTEMPTS_EXHAUSTED if exhausted else Reason.TIMED_OUT
                status = OutcomeStatus.FAILED.value
                dead.append(NewDeadLetter(job.job_id, job.fencing_token, status, encoded, reason.value, "TimeoutError"))
            else:
                ended.append((job.job_id, job.fencing_token, encoded))
        if ended:
            await queue.time_out(connection, ended)
        if dead:
            await dead_letters.store_dead_letters(connection, queue.table, dead)

    @staticmethod
    def _failure() -> Failure:
        """Return what an attempt fails with: Temporal, too, notices the death of a worker by a missing heartbeat."""
        message = "the worker that ran the attempt died, or lost its database for longer than its lease"
        return timed_out(TimeoutType.HEARTBEAT, message=message)


async def back_off(
    connection: Connection,
    queue: MaintenanceStatements,
    failed: Sequence[tuple[LostAttempt, Failure, bytes]],
    error: str | None = None,
    *,
    apart: bool = False,
) -> tuple[int, list[GivenUp]]:
    """Free jobs whose attempts have failed, and schedule the attempts that their retry policies allow.

    Args:
        connection: in the transaction that has locked the rows.
        queue: the queue.
        failed: the jobs, each with its failure and the failure's stored form.
        error: what operators see as the error's type; None: that of the failure.
        apart: try them again one after another.

    Returns:
        How many jobs were freed, and those that get no further attempt, with their new fencing tokens. The retry of
        these is put off until their outcomes are stored.
    """
    rows: list[tuple[str, int, int, bytes | None, str]] = []
    last: list[GivenUp] = []
    for place, (job, failure, encoded) in enumerate(failed):
        left = None if job.deadline_ms is None else job.deadline_ms * _MILLISECOND
        decision = decide(failure, _options_of(job).retry_policy, job.attempt, left)
        delay = _UNTIL_STORED if isinstance(decision, GiveUp) else decision.delay
        if apart:
            later = delay + _APART * min(place, place * _MOST_STEPS // len(failed))
            delay = later if left is None or later < left else delay
        if isinstance(decision, GiveUp):
            last.append((job, failure, decision))
        rows.append((job.job_id, job.fencing_token, delay // _MILLISECOND, encoded, error or error_type(failure)))
    tokens = await queue.back_off(connection, rows) if rows else {}
    return len(tokens), [
        (job._replace(fencing_token=tokens[job.job_id]), failure, decision)
        for job, failure, decision in last
        if job.job_id in tokens
    ]


def _options_of(job: LostAttempt) -> JobOptions:
    """Return the job's options; those of a row that can't be read are Temporal's defaults."""
    if row_problem(job.format_version) is not None:
        return JobOptions()
    try:
        return decode_options(job.options)
    except WireError:
        return JobOptions()
