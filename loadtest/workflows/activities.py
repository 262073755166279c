"""The arms `classic`, `drop-in` and `drop-in-worker`: the same code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from loadtest.workflows.steps import Handler, activity, run_jobs
    from loadtest.workload.jobs import Work


@workflow.defn(name="loadtest_activities")
class ActivityWork:
    """Ordinary activities."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        return await run_jobs(work, activity, _gather)


def _gather(handler: Handler, inputs: Sequence[Any]) -> Awaitable[list[int]]:
    return asyncio.gather(*(activity(handler, task) for task in inputs))
