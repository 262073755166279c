"""The arm `gathered`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from delegator import delegate
    from loadtest.workflows.steps import Handler, run_jobs
    from loadtest.workload.jobs import Work


@workflow.defn(name="loadtest_gathered")
class GatheredWork:
    """Delegated jobs, called one by one as activities are."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        return await run_jobs(work, delegate, _gather)


def _gather(handler: Handler, inputs: Sequence[Any]) -> Awaitable[list[int]]:
    return asyncio.gather(*(delegate(handler, task) for task in inputs))
