"""The workflow: one long job, called with a limit for the time between two heartbeats."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    from examples.heartbeat.tasks import work, work_in_thread


@workflow.defn
class LongJob:
    """Runs the job, and returns the step with which the last attempt began."""

    @workflow.run
    async def run(self, job: str, in_thread: bool, heartbeat_seconds: int) -> int:
        """Run it as a coroutine or in a thread. It freezes for much longer than the limit."""
        limit = timedelta(seconds=heartbeat_seconds)
        function = work_in_thread if in_thread else work
        return await delegate(function, job, 3 * heartbeat_seconds, heartbeat_timeout=limit)
