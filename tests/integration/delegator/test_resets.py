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
from temporalio.exceptions import ActivityError, CancelledError
from temporalio.worker import Replayer, Worker

from delegator.contracts import collect_handlers
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.postgres.connections import connect
from delegator.postgres.queue_steering import SteeringStatements
from tests.integration.delegator import tasks
from tests.integration.delegator.environment import OUTCOMES_SIGNAL, SIGNALLED, Environment
from tests.integration.delegator.flows import WaitsDirectly
from tests.integration.delegator.in_memory import InMemoryEnvironment
from tests.integration.delegator.reset_flows import FansOut, Holds

RESULTS = [2, 7, 0, 1, 2]
BEGAN = {"in_thread": 1, "noted": 9, "unless_held": 3}


async def reset(client: Client, handle: WorkflowHandle[Any, Any], signal: str = "tell") -> WorkflowHandle[Any, Any]:
    """Reset a run to the workflow task that its last signal of this name began."""
    point = None
    for event in (await handle.fetch_history()).events:
        if event.workflow_execution_signaled_event_attributes.signal_name == signal:
            point = None
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            point = point or event.event_id
    assert point is not None
    reply = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id or handle.run_id),
            reason="test",
            workflow_task_finish_event_id=point,
            request_id=str(uuid.uuid4()),
        )
    )
    return client.get_workflow_handle(handle.id, run_id=reply.run_id)


async def fail_and_reset(engine: Environment, task_queue: str) -> WorkflowHandle[Any, Any]:
    """Let a run fail with activities pending. Reset it, let it fail again, mend what failed, and reset that run."""
    workflow_id = f"reset-{uuid.uuid4()}"
    with engine.held(workflow_id):
        handle = await engine.start(FansOut.run, id=workflow_id, task_queue=task_queue)
        await engine.noted(workflow_id, "started", 4)
        await handle.signal(FansOut.tell, "go on")
        for noted in (5, 9):
            await engine.noted(workflow_id, "started", noted)
            with pytest.raises(WorkflowFailureError):
                await engine.result(handle)
            await engine.nothing_left()
            if noted == 5:
                handle = await reset(engine.client, handle)
    return await reset(engine.client, handle)


def began(engine: Environment, workflow_id: str) -> Counter[str]:
    """Return how often jobs of each type began."""
    started = (line for line in engine.ledger_lines() if line["event"] == "started")
    return Counter(line["type"] for line in started if line["workflow"] == workflow_id)


async def test_ordinary(temporal: TemporalServer):
    """Temporal schedules pending activities again."""
    client = await Client.connect(temporal.address, namespace=NAMESPACE)
    engine = InMemoryEnvironment(client, Path(os.environ[tasks.DIRECTORY_VARIABLE]), runs_jobs=False)
    with ThreadPoolExecutor() as threads:
        activities = [handler.function for handler in collect_handlers([tasks]).values()]
        async with Worker(
            client, task_queue="reset", workflows=[FansOut], activities=activities, activity_executor=threads
        ):
            handle = await fail_and_reset(engine, "reset")
            assert await engine.result(handle) == RESULTS
    assert began(engine, handle.id) == BEGAN


async def test_delegated(engine: Environment):
    """The jobs have ended with their run, and begin again. Those that have their outcomes do not.

    Every workflow task of the worker replays the history before it.
    """
    config = {"workflows": [FansOut], "max_cached_workflows": 0}
    async with engine.worker(SIGNALLED, intercept=True, **config) as task_queue:
        handle = await fail_and_reset(engine, task_queue)
        assert await engine.result(handle) == RESULTS
    assert began(engine, handle.id) == BEGAN


@pytest.mark.postgres_only
async def test_job_that_a_person_cancelled(engine: Environment, signal_queue: str):
    """Its outcome is in the history that the reset keeps, so the job does not run again."""
    arguments = ("delegate", "until_cancelled", [False])
    handle = await engine.start(WaitsDirectly.run, *arguments, task_queue=signal_queue)
    await engine.noted(handle.id, "started")
    (row,) = await engine.rows("workflow_id = %s", handle.id)
    url = engine.settings.database_url.get_secret_value()
    async with await connect(url, application_name="test") as db:
        await SteeringStatements("default").ask_to_stop(db, [row["job_id"]])
    for again in (True, False):
        with pytest.raises(WorkflowFailureError) as raised:
            await engine.result(handle)
        assert isinstance(raised.value.cause, ActivityError) and isinstance(raised.value.cause.cause, CancelledError)
        if again:
            handle = await reset(engine.client, handle, OUTCOMES_SIGNAL)
    await engine.nothing_left()
    assert engine.ledger(handle.id) == [("started", 1), ("cancelled", 1)]


async def test_jobs_that_stop(engine: Environment):
    """A job that is still stopping when its run is reset begins again at once. One that was cancelled does not."""
    workflow_id = f"reset-{uuid.uuid4()}"
    async with engine.worker(SIGNALLED, intercept=True, workflows=[Holds]) as task_queue:
        with engine.held(workflow_id):
            handle = await engine.start(Holds.run, id=workflow_id, task_queue=task_queue)
            await engine.noted(workflow_id, "started", 2)
            await handle.signal(Holds.tell, "cancel")
            await engine.noted(workflow_id, "told to stop")
            await handle.signal(Holds.tell, "go on")
            assert await handle.query(Holds.was_told) == "go on"
            await handle.terminate()
            await engine.noted(workflow_id, "told to stop", 2)
            handle = await reset(engine.client, handle)
            await engine.noted(workflow_id, "started", 3)
        assert await engine.result(handle) == [1, "ActivityError"]
    assert began(engine, workflow_id) == {"holds_on": 3}
    replayer = Replayer(workflows=[Holds], plugins=[engine.plugin(SIGNALLED, intercept=True)])
    await replayer.replay_workflow(await handle.fetch_history())
