"""The arm `local`."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from loadtest.workload.handlers import START_TO_CLOSE, nothing
    from loadtest.workload.jobs import Work
    from loadtest.workload.scenarios import Pattern


@workflow.defn(name="loadtest_local")
class LocalWork:
    """Empty local activities, as many as a delegated workflow needs to enqueue its jobs: shows what these cost."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run one for each job, or one for all jobs at once, and return the number of the workflow."""
        for _ in range(work.jobs if work.pattern is Pattern.IN_TURN else 1):
            await workflow.execute_local_activity(nothing, start_to_close_timeout=START_TO_CLOSE)
        return work.workflow
