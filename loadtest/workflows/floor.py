"""The arm `floor`."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from loadtest.workload.jobs import Work


@workflow.defn(name="loadtest_floor")
class FloorWork:
    """A workflow that returns at once: what Temporal costs before any job."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Return the number of the workflow."""
        return work.workflow
