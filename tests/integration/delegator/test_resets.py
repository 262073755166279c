"""A run that is reset after it has closed waits for the jobs that it waited for, as it does for ordinary activities."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Worker

from delegator.contracts import collect_handlers
from delegator.dev.temporal import NAMESPACE, TemporalServer
from tests.integration.delegator import tasks
from tests.integration.delegator.environment import SIGNALLED, Environment
from tests.integration.delegator.in_memory import InMemoryEnvironment
from tests.integration.delegator.reset_flows import FansOut

RESULTS = [2, 7, 0, 1, 2]


async def reset(client: Client, handle: WorkflowHandle[Any, Any], *, after: str) -> WorkflowHandle[Any, Any]:
    """Reset a run to the workflow task that a signal began."""
    found = False
    for event in (await handle.fetch_history()).events:
        found = found or event.workflow_execution_signaled_event_attributes.signal_name == after
        if found and event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            break
    reply = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id),
            reason="test",
            workflow_task_finish_event_id=event.event_id,
            request_id=str(uuid.uuid4()),
        )
    )
    return client.get_workflow_handle(handle.id, run_id=reply.run_id)


async def fail_and_reset(engine: Environment, task_queue: str, *, cancels: bool = False) -> tuple[Any, Counter[str]]:
    """Let a run fail with activities pending; mend what failed, and reset it. Return its result and what began."""
    workflow_id = f"reset-{uuid.uuid4()}"
    with engine.held(workflow_id):
        handle = await engine.start(FansOut.run, cancels, id=workflow_id, task_queue=task_queue)
        await engine.noted(workflow_id, "started", 4)
        await handle.signal(FansOut.go_on)
        with pytest.raises(WorkflowFailureError):
            await engine.result(handle)
        await engine.nothing_left()
    result = await engine.result(await reset(engine.client, handle, after="go_on"))
    return result, Counter(line["type"] for line in engine.ledger_lines() if line["workflow"] == workflow_id)


async def test_ordinary(temporal: TemporalServer):
    """Temporal schedules pending activities again."""
    client = await Client.connect(temporal.address, namespace=NAMESPACE)
    engine = InMemoryEnvironment(client, Path(os.environ[tasks.DIRECTORY_VARIABLE]), runs_jobs=False)
    with ThreadPoolExecutor() as threads:
        activities = [handler.function for handler in collect_handlers([tasks]).values()]
        async with Worker(
            client, task_queue="reset", workflows=[FansOut], activities=activities, activity_executor=threads
        ):
            result, began = await fail_and_reset(engine, "reset")
    assert result == RESULTS
    assert began == {"in_thread": 1, "noted": 6, "unless_held": 2}


async def test_delegated(engine: Environment):
    """The run's jobs have ended with it, and begin again. Those with an outcome do not."""
    async with engine.worker(SIGNALLED, intercept=True, workflows=[FansOut]) as task_queue:
        result, began = await fail_and_reset(engine, task_queue)
    assert result == RESULTS
    assert began == {"in_thread": 1, "noted": 6, "unless_held": 2}
