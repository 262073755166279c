"""Workflows that give jobs ids of their own."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.tasks as tasks


@workflow.defn
class OwnId:
    """One job with an id of the run, and another one with the same id after each continue-as-new."""

    @workflow.run
    async def run(self, job_id: str, number: int, runs: int = 0) -> list[Any]:
        if runs:
            left_behind = asyncio.create_task(delegate(tasks.noted, -number, job_id=job_id))
            await workflow.wait([left_behind], timeout=0.01)
            workflow.continue_as_new(args=[job_id, number, runs - 1])
        return [await delegate(tasks.noted, number, job_id=job_id), workflow.info().run_id]


@workflow.defn
class UniqueId:
    """One job with an id across workflows."""

    @workflow.run
    async def run(self, unique_id: str, number: int) -> Any:
        try:
            return await delegate(tasks.noted, number, unique_id=unique_id)
        except ActivityError as error:
            assert isinstance(error.cause, ApplicationError)
            return [error.cause.type, error.cause.message, error.cause.non_retryable]


@workflow.defn
class RefusedIds:
    """Ids that can't be."""

    @workflow.run
    async def run(self, job_ids: list[str], unique_ids: list[str]) -> list[str]:
        calls = [
            *(delegate(tasks.noted, 1, job_id=job_id) for job_id in job_ids),
            *(delegate(tasks.noted, 1, unique_id=unique_id) for unique_id in unique_ids),
            delegate(tasks.noted, 1, job_id="one", unique_id="other"),
        ]
        return [str(error) for error in await asyncio.gather(*calls, return_exceptions=True)]


ALL = [OwnId, UniqueId, RefusedIds]
