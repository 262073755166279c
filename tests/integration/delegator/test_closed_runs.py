"""Jobs end when the run that enqueued them has closed."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from tests.integration.delegator import flows
from tests.integration.delegator.environment import SIGNALLED, Environment, eventually

ENDS = ["returns", "fails", "terminated", "times out", "continues"]


@pytest.mark.parametrize("how", ENDS)
async def test_run_closes(engine: Environment, signal_queue: str, how: str):
    """A running job is told to stop, and one that waits for its retry is removed."""
    options = {"run_timeout": timedelta(seconds=3)} if how == "times out" else {}
    handle = await engine.start(flows.LeavesJobs.run, how, task_queue=signal_queue, **options)
    runs = 2 if how == "continues" else 1
    for run in range(1, runs + 1):
        await engine.noted(handle.id, "started", run)
        await engine.noted(handle.id, "back off", run)
        await end(engine.client.get_workflow_handle(handle.id), how)
        await engine.noted(handle.id, "cancelled", run)
    await engine.nothing_left()
    assert sorted(engine.ledger(handle.id)) == sorted([("started", 1), ("back off", 1), ("cancelled", 1)] * runs)
    assert await engine.dead_letters(handle.id) == []


async def end(handle: WorkflowHandle[Any, Any], how: str) -> None:
    if how == "terminated":
        await handle.terminate()
    elif how != "times out":
        await handle.signal(flows.LeavesJobs.end)


async def test_waiting_jobs(idle_engine: Environment):
    """Jobs that no worker has taken are removed, however many there are."""
    async with idle_engine.worker(SIGNALLED) as task_queue:
        handle = await idle_engine.start(flows.Many.run, "delegate_map", 300, task_queue=task_queue)

        async def are_enqueued() -> bool:
            return len(await idle_engine.jobs(handle.id)) == 300

        await eventually(are_enqueued)
        await handle.terminate()
        await idle_engine.nothing_left()


async def test_abandoned_job_ends_with_its_run(engine: Environment, signal_queue: str):
    """ABANDON leaves the job alone while the run is open. Temporal ends abandoned activities with the run, too."""
    name = "heartbeats_until_cancelled"
    handle = await engine.start(flows.Cancellable.run, "delegate", name, [], "ABANDON", task_queue=signal_queue)
    await engine.noted(handle.id, "started")
    await handle.signal(flows.Cancellable.cancel)
    assert await engine.result(handle) == "activity cancelled"
    await engine.noted(handle.id, "cancelled")


async def test_reset(engine: Environment, signal_queue: str):
    """After a reset the jobs enqueued after its point end. Those before it are the new run's, and go on."""
    workflow_id = f"reset-{uuid.uuid4()}"
    with engine.held(workflow_id):
        handle = await engine.start(flows.EnqueuesTwice.run, id=workflow_id, task_queue=signal_queue)
        await engine.noted(workflow_id, "started")
        await handle.signal(flows.EnqueuesTwice.go_on)
        await engine.noted(workflow_id, "started", 2)

        async def completed() -> list[int]:
            events = (await handle.fetch_history()).events
            ids = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
            return ids if len(ids) > 1 else []

        second = (await eventually(completed))[1]
        await engine.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=engine.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=handle.first_execution_run_id),
                reason="test",
                workflow_task_finish_event_id=second,
                request_id=str(uuid.uuid4()),
            )
        )
        await engine.noted(workflow_id, "cancelled")

        async def others_go_on() -> bool:
            return not any(job.cancel_requested for job in await engine.jobs(workflow_id))

        await eventually(others_go_on)
    assert await engine.result(engine.client.get_workflow_handle(workflow_id)) == 1
    assert ("started", 2) not in engine.ledger(workflow_id)
    await engine.noted(workflow_id, "cancelled", 2)
