"""The arm `local`."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from loadtest.scenarios import Pattern
    from loadtest.tasks import START_TO_CLOSE, nothing
    from loadtest.work import Work


@workflow.defn(name="loadtest_local")
class LocalWork:
    """Local activities that do nothing, as many as enqueue a delegated workflow's jobs: what these alone cost."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run one for each job in turn, or one for all at once, and return the number of the workflow."""
        for _ in range(work.jobs if work.pattern is Pattern.IN_TURN else 1):
            await workflow.execute_local_activity(nothing, start_to_close_timeout=START_TO_CLOSE)
        return work.workflow
