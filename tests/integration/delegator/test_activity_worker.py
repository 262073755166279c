"""The activity worker runs unchanged `execute_activity` calls of workflows that know nothing of delegation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle

from tests.integration.delegator import flows
from tests.integration.delegator.environment import Environment, eventually

WAYS = ["execute_activity", "execute_activity by name"]


async def events(handle: WorkflowHandle[Any, Any]) -> Counter[str]:
    names = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
    return Counter(name.removeprefix("EVENT_TYPE_") for name in names)


async def is_ordinary(handle: WorkflowHandle[Any, Any]) -> bool:
    counts = await events(handle)
    return (counts["ACTIVITY_TASK_COMPLETED"], counts["WORKFLOW_EXECUTION_SIGNALED"], counts["MARKER_RECORDED"]) == (
        1,
        0,
        0,
    )


@pytest.mark.parametrize("shape", flows.CALLS)
@pytest.mark.parametrize("way", WAYS)
async def test_every_shape(engine: Environment, activity_queue: str, way: str, shape: str):
    handle = await engine.start(flows.Travel.run, way, shape, task_queue=activity_queue)
    assert await engine.result(handle) == "right"
    assert await is_ordinary(handle)
    assert engine.ledger(handle.id) == [("started", 1)]


@pytest.mark.parametrize("way", WAYS)
async def test_slow_handler(engine: Environment, activity_queue: str, way: str):
    """A job that outlasts the activity worker's wait completes the ordinary activity."""
    with engine.held(f"slow {way}"):
        handle = await engine.start(flows.Travel.run, way, "dataclass", id=f"slow {way}", task_queue=activity_queue)
        await engine.noted(handle.id, "started")
    assert await engine.result(handle) == "right"
    assert await is_ordinary(handle)


async def test_client_completes(engine: Environment, activity_queue: str):
    """A handler leaves the activity task to a client. The token is Temporal's, so any client completes it."""
    handle = await engine.start(
        flows.Cancellable.run, "execute_activity", "left_to_client", [], "TRY_CANCEL", task_queue=activity_queue
    )

    async def left() -> bool:
        return bool(engine.ledger(handle.id))

    await eventually(left)
    ((token, _),) = engine.ledger(handle.id)
    await engine.nothing_left()
    await engine.client.get_async_activity_handle(task_token=bytes.fromhex(token)).complete("by the client")
    assert await engine.result(handle) == "result by the client"


async def test_failure(engine: Environment, activity_queue: str):
    """The failure of a delegated activity arrives like that of an ordinary one."""
    handle = await engine.start(
        flows.Fails.run, "execute_activity", "fail", ["Unlucky", True], 0, [], task_queue=activity_queue
    )
    failure = await engine.result(handle)
    assert 'raise ApplicationError("no such luck"' in failure["stack_trace"]
    assert (
        failure["type"],
        failure["cause_message"],
        failure["details"],
        failure["non_retryable"],
        failure["retry_state"],
    ) == (
        "Unlucky",
        "no such luck",
        [{"at": 7}, "more"],
        True,
        "NON_RETRYABLE_FAILURE",
    )


async def test_attempt_numbers(engine: Environment, activity_queue: str):
    """Temporal retries a failed attempt, and the handler sees the attempt's number."""
    handle = await engine.start(
        flows.CallsOne.run, "execute_activity", "succeed_at", [3], {}, task_queue=activity_queue
    )
    assert await engine.result(handle) == 3
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2), ("started", 3)]


async def test_last_heartbeat_details(engine: Environment, activity_queue: str):
    """The next attempt gets the last heartbeat details of the attempt before."""
    handle = await engine.start(
        flows.CallsOne.run,
        "execute_activity",
        "silent_once",
        [],
        {"heartbeat_timeout": 1.5},
        task_queue=activity_queue,
    )
    assert await engine.result(handle) == "attempt 2 knows ['page', 12]"


async def test_first_heartbeat(engine: Environment, activity_queue: str):
    """The first heartbeat goes to Temporal at once, so a timeout knows its details; the next ones are in time, too."""

    async def call(pauses: list[float]) -> Any:
        options = {"heartbeat_timeout": 1.5, "attempts": 1}
        handle = await engine.start(
            flows.CallsOne.run, "execute_activity", "beats", [pauses], options, task_queue=activity_queue
        )
        return await engine.result(handle)

    failure = await call([60])
    assert (failure["cause"], failure["type"], failure["details"]) == ("TimeoutError", "HEARTBEAT", ["beat", 0])
    assert await call([0.3] * 7) == "in time"


async def test_start_to_close_timeout(engine: Environment, activity_queue: str):
    """An attempt that runs longer than its start-to-close timeout fails with that timeout type."""
    options = {"start_to_close_timeout": 0.3, "attempts": 1}
    handle = await engine.start(
        flows.CallsOne.run, "execute_activity", "sleeps", [60], options, task_queue=activity_queue
    )
    failure = await engine.result(handle)
    assert (failure["cause"], failure["type"]) == ("TimeoutError", "START_TO_CLOSE")


async def test_cancel_heartbeating_handler(engine: Environment, activity_queue: str):
    """A cancellation of the workflow's activity reaches a handler that sends heartbeats."""
    handle = await engine.start(
        flows.Cancellable.run,
        *("execute_activity", "heartbeats_until_cancelled", [], "WAIT_CANCELLATION_COMPLETED"),
        task_queue=activity_queue,
    )
    await engine.noted(handle.id, "started")
    await handle.signal(flows.Cancellable.cancel)
    assert await engine.result(handle) == "activity cancelled"
    assert engine.ledger(handle.id) == [("started", 1), ("cancelled", 1)]


async def test_terminated_workflow_stops_handler(engine: Environment, activity_queue: str):
    """A handler that sends heartbeats is cancelled when its workflow is terminated."""
    handle = await engine.start(
        flows.WaitsDirectly.run, "execute_activity", "heartbeats_until_cancelled", [], task_queue=activity_queue
    )
    await engine.noted(handle.id, "started")
    await handle.terminate()
    await engine.noted(handle.id, "cancelled")


async def test_terminated_workflow_leaves_no_row(engine: Environment, activity_queue: str):
    """A terminated workflow leaves no row behind."""
    workflow_id = "terminated by hand"
    with engine.held(workflow_id):
        handle = await engine.start(
            flows.WaitsDirectly.run, "execute_activity", "noted", [1], id=workflow_id, task_queue=activity_queue
        )
        await engine.noted(workflow_id, "started")
        await handle.terminate()
    with pytest.raises(WorkflowFailureError):
        await engine.result(handle)
