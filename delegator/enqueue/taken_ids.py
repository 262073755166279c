"""Ids that jobs of other workflow runs have."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.exceptions import ApplicationError

from delegator.postgres.connections import Connection
from delegator.postgres.queue_table import QueueTable
from delegator.wire.requests import is_unique_id


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


async def taken_ids(
    connection: Connection, table: QueueTable, job_ids: Iterable[str], run_id: str
) -> dict[str, str | None]:
    """Return which of these ids jobs of other runs have, with the workflows of those jobs.

    Args:
        connection: where to ask.
        table: the queue's table.
        job_ids: ids that are in the queue already. Only unique ones can be those of other runs.
        run_id: the run that asks.
    """
    unique = [job_id for job_id in job_ids if is_unique_id(job_id, run_id)]
    return await table.owned_by_others(connection, unique, run_id) if unique else {}
