"""The arms `delegated` and `signalled`."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from delegator import delegate, delegate_map
    from loadtest.workflows.steps import run_jobs
    from loadtest.workload.jobs import Work


@workflow.defn(name="loadtest_delegated")
class DelegatedWork:
    """Delegated jobs."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        return await run_jobs(work, delegate, delegate_map)
