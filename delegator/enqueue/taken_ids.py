"""Ids that jobs of other workflow runs have, or other calls of the same run."""

from __future__ import annotations

from collections.abc import Sequence, Set

from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from delegator.completion.failures import refused_outcome
from delegator.enqueue.inline import CONNECTION_SECONDS
from delegator.postgres.connections import Pool
from delegator.postgres.lease_keeper import holder_name
from delegator.postgres.queue_table import NewJob, QueueTable
from delegator.wire.outcomes import Outcome
from delegator.wire.requests import is_generated_id, is_unique_id


def taken_error(job_id: str, workflow_id: str | None) -> ApplicationError:
    """Return the error of a call whose `unique_id` another workflow's unfinished job has.

    Args:
        job_id: the id.
        workflow_id: the workflow of that job; None: it is a plain job.
    """
    owner = "a job that no workflow waits for" if workflow_id is None else f"a job of workflow {workflow_id!r}"
    return ApplicationError(
        f"unique id {job_id!r} is that of {owner}, which has not ended", type="JobIdInUse", non_retryable=True
    )


async def refuse_taken(
    pool: Pool, table: QueueTable, rows: Sequence[NewJob], known: Set[str], converter: DataConverter
) -> dict[str, Outcome]:
    """Return the outcomes of jobs that are refused, because a job of another run has their id.

    Args:
        pool: connections.
        table: the queue's table.
        rows: the jobs of one run.
        known: those of their ids that are in the queue already. Only unique ones can be those of other runs.
        converter: the client's data converter.
    """
    run_id = rows[0].run_id or ""
    unique = [job_id for job_id in known if is_unique_id(job_id, run_id)]
    if not unique:
        return {}
    async with pool.share(table.queue).connection() as connection:
        taken = await table.owned_by_others(connection, unique, run_id)
    types = {row.job_id: row.job_type for row in rows}
    return {
        job_id: refused_outcome(
            taken_error(job_id, workflow_id),
            converter,
            job_id=job_id,
            job_type=types[job_id],
            identity=holder_name(),
        )
        for job_id, workflow_id in taken.items()
    }


async def remove_other_calls(pool: Pool, table: QueueTable, rows: Sequence[NewJob], known: Set[str]) -> set[str]:
    """Remove jobs that this run's workflow has not asked for, and whose ids its calls need. Return these ids.

    The code of a workflow task that failed or was lost may have made another call at the same place: a signal that has
    come since leads it another way, for example. Temporal never learns of such a call. Its outcome must not become that
    of the call that stands there now.

    Args:
        pool: connections.
        table: the queue's table.
        rows: the jobs of one run.
        known: those of their ids that are in the queue already.
    """
    run_id = rows[0].run_id or ""
    wanted = [(row.job_id, row.job_type) for row in rows if row.job_id in known and is_generated_id(row.job_id, run_id)]
    if not wanted:
        return set()
    async with pool.share(table.queue).connection(CONNECTION_SECONDS) as connection:
        return await table.remove_other_types(connection, wanted)


async def take_back(pool: Pool, table: QueueTable, rows: Sequence[NewJob]) -> None:
    """Take over the jobs of earlier runs of a workflow that are in the queue still.

    Args:
        pool: connections.
        table: the queue's table.
        rows: the jobs of one run.
    """
    workflow_id, run_id = rows[0].workflow_id or "", rows[0].run_id or ""
    async with pool.share(table.queue).connection(CONNECTION_SECONDS) as connection:
        await table.take_back(connection, [row.job_id for row in rows], workflow_id, run_id)
