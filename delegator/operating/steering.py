"""Cancels jobs, and has jobs that failed tried again at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from temporalio.converter import DataConverter

from delegator.completion.failures import canceled_outcome
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.operating.jobs import ExplainedJob
from delegator.operating.states import Reason
from delegator.postgres.job_views import JobRow
from delegator.postgres.operator_connection import operator_connection
from delegator.postgres.queue_steering import SteeringStatements
from delegator.wire.codec import encode_outcome
from delegator.wire.contexts import Conversions, row_origin
from delegator.wire.rows import row_problem

_BATCH: Final = 1_000
RETRIED: Final = frozenset({Reason.FAILED, Reason.LIMIT, Reason.REFUSED, Reason.PAUSED})
"""Why jobs are not further that `retry` may help."""


@dataclass(frozen=True, slots=True)
class Canceled:
    """The result of a cancellation."""

    ended: tuple[JobRow, ...]
    """Those that did not run. Their workflows get a cancellation as their outcome."""
    asked: tuple[JobRow, ...]
    """Those that run. Their handlers are told to stop."""
    left: tuple[JobRow, ...]
    """Those that have ended meanwhile, or that belong to Temporal's activity tasks."""


async def cancel(
    settings: Settings, found: Sequence[ExplainedJob], converter: DataConverter, *, identity: str
) -> Canceled:
    """Cancel jobs.

    Args:
        settings: where the database is.
        found: the jobs.
        converter: the data converter of the processes that run them.
        identity: who cancels them, as their failures show it.

    Raises:
        ConfigurationError: a newer release wrote one of them, its failure can't be encoded, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    by_queue: dict[str, list[JobRow]] = defaultdict(list)
    for one in found:
        if (problem := row_problem(one.job.format_version)) is not None:
            raise ConfigurationError(f"nothing was canceled: job {one.job.job_id}: {problem}")
        by_queue[one.job.queue].append(one.job)
    outcomes = {job.job_id: await _outcome(job, converter, identity) for jobs in by_queue.values() for job in jobs}
    ended: set[tuple[str, str]] = set()
    asked: set[tuple[str, str]] = set()
    async with operator_connection(settings, "jobs") as connection:
        for queue, jobs in by_queue.items():
            statements = SteeringStatements(queue)
            for start in range(0, len(jobs), _BATCH):
                ids = [job.job_id for job in jobs[start : start + _BATCH]]
                done = await statements.cancel_waiting(connection, [(job_id, outcomes[job_id]) for job_id in ids])
                told = await statements.ask_to_stop(connection, [job_id for job_id in ids if job_id not in done])
                # One that has begun to back off since the first statement.
                rest = [job_id for job_id in ids if job_id not in done and job_id not in told]
                done |= await statements.cancel_waiting(connection, [(job_id, outcomes[job_id]) for job_id in rest])
                ended |= {(queue, job_id) for job_id in done}
                asked |= {(queue, job_id) for job_id in told}
    jobs = [job for of_queue in by_queue.values() for job in of_queue]
    return Canceled(
        tuple(job for job in jobs if (job.queue, job.job_id) in ended),
        tuple(job for job in jobs if (job.queue, job.job_id) in asked),
        tuple(job for job in jobs if (job.queue, job.job_id) not in ended | asked),
    )


async def retry(settings: Settings, found: Sequence[ExplainedJob]) -> tuple[list[JobRow], list[JobRow]]:
    """Make the next attempts of jobs due now. Return the jobs for which this was so, and those left.

    A paused job is due when its pause ends. A job that does not back off is left.

    Raises:
        ConfigurationError: a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    by_queue: dict[str, list[str]] = defaultdict(list)
    for one in found:
        by_queue[one.job.queue].append(one.job.job_id)
    due: set[tuple[str, str]] = set()
    async with operator_connection(settings, "jobs") as connection:
        for queue, ids in by_queue.items():
            for start in range(0, len(ids), _BATCH):
                batch = ids[start : start + _BATCH]
                due |= {(queue, job_id) for job_id in await SteeringStatements(queue).retry(connection, batch)}
    jobs = [one.job for one in found]
    return (
        [job for job in jobs if (job.queue, job.job_id) in due],
        [job for job in jobs if (job.queue, job.job_id) not in due],
    )


async def _outcome(job: JobRow, converter: DataConverter, identity: str) -> bytes:
    outcome = canceled_outcome(job_id=job.job_id, job_type=job.job_type, identity=identity)
    conversion = Conversions(converter).of(
        row_origin(
            job_id=job.job_id,
            job_type=job.job_type,
            namespace=job.namespace,
            workflow_id=job.workflow_id,
            run_id=None if job.run_id is None else str(job.run_id),
            options=None if job.options is None else orjson.dumps(job.options).decode(),
        )
    )
    try:
        return await encode_outcome(outcome, conversion.codec, stand_in=False)
    except Exception as error:  # a codec may raise any error
        raise ConfigurationError(
            f"nothing was canceled: DELEGATOR_DATA_CONVERTER can't encode the cancellation of job {job.job_id}:"
            f" {type(error).__name__}"
        ) from None
