"""Cancellation, from a workflow to a waiting row and to a running handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from tests.integration.delegator import flows
from tests.integration.delegator.environment import BRIEF, SIGNALLED, Environment, eventually

WAYS = ["delegate", "execute_activity"]
ASKING = ["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED"]


@pytest.fixture(scope="module", params=["waited inline", "signalled"])
async def idle_queue(request: pytest.FixtureRequest, idle_engine: Environment) -> AsyncIterator[str]:
    options = BRIEF if request.param == "waited inline" else SIGNALLED
    async with idle_engine.worker(options, intercept=True) as task_queue:
        yield task_queue


async def enqueued(engine: Environment, workflow_id: str) -> None:
    async def some() -> bool:
        return bool(await engine.jobs(workflow_id))

    await eventually(some)


@pytest.mark.parametrize("kind", ASKING)
@pytest.mark.parametrize("way", [*WAYS, "delegate_map"])
@pytest.mark.parametrize("who", ["task", "workflow"])
async def test_a_waiting_row_is_removed(idle_engine: Environment, idle_queue: str, way: str, kind: str, who: str):
    handle = await idle_engine.start(flows.Cancellable.run, way, "noted", [1], kind, task_queue=idle_queue)
    await enqueued(idle_engine, handle.id)
    if who == "task":
        await handle.signal(flows.Cancellable.cancel)
        assert await idle_engine.result(handle) == "activity cancelled"
    else:
        await handle.cancel()
        assert await idle_engine.result(handle) == "workflow cancelled, activity cancelled"
    assert await idle_engine.jobs(handle.id) == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_workflow_ends_as_cancelled(idle_engine: Environment, idle_queue: str, way: str):
    handle = await idle_engine.start(flows.WaitsDirectly.run, way, "noted", [1], task_queue=idle_queue)
    await enqueued(idle_engine, handle.id)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as raised:
        await idle_engine.result(handle)
    assert isinstance(raised.value.cause, CancelledError)
    await idle_engine.nothing_left()


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_not_sent_yet_is_never_enqueued(idle_engine: Environment, idle_queue: str, way: str):
    handle = await idle_engine.start(flows.CancelsAtOnce.run, way, task_queue=idle_queue)
    assert await idle_engine.result(handle) == "cancelled"
    assert await idle_engine.jobs(handle.id) == []


@pytest.mark.parametrize("way", WAYS)
async def test_an_abandoned_job_stays(engine: Environment, signal_queue: str, way: str):
    workflow_id = f"abandons by {way}"
    with engine.held(workflow_id):
        handle = await engine.start(
            flows.Cancellable.run, way, "noted", [1], "ABANDON", id=workflow_id, task_queue=signal_queue
        )
        await engine.noted(workflow_id, "started")
        await handle.signal(flows.Cancellable.cancel)
        assert await engine.result(handle) == "activity cancelled"
        (job,) = await engine.jobs(workflow_id)
        assert not job.is_finished and not job.cancel_requested
    await engine.nothing_left()
    assert engine.ledger(workflow_id) == [("started", 1)]


@pytest.mark.parametrize("way", [*WAYS, "delegate_map"])
async def test_trying_to_cancel_does_not_wait_for_the_handler(engine: Environment, signal_queue: str, way: str):
    workflow_id = f"tries to cancel {way}"
    with engine.held(workflow_id):
        handle = await engine.start(
            *(flows.Cancellable.run, way, "until_cancelled", [True], "TRY_CANCEL"),
            id=workflow_id,
            task_queue=signal_queue,
        )
        await engine.noted(handle.id, "started")
        await handle.signal(flows.Cancellable.cancel)
        assert await engine.result(handle) == "activity cancelled"
        assert engine.ledger(handle.id) == [("started", 1)], "its handler still cleans up"
    await engine.noted(handle.id, "cancelled")
    await engine.nothing_left()
    assert engine.ledger(handle.id) == [("started", 1), ("cleaned up", 1), ("cancelled", 1)]


@pytest.mark.parametrize("way", [*WAYS, "delegate_map"])
@pytest.mark.parametrize("who", ["task", "workflow"])
async def test_waiting_for_a_cancellation_lets_the_handler_clean_up(
    engine: Environment, signal_queue: str, way: str, who: str
):
    kind = "WAIT_CANCELLATION_COMPLETED"
    handle = await engine.start(flows.Cancellable.run, way, "until_cancelled", [True], kind, task_queue=signal_queue)
    await engine.noted(handle.id, "started")
    await (handle.signal(flows.Cancellable.cancel) if who == "task" else handle.cancel())
    expected = "activity cancelled" if who == "task" else "workflow cancelled, activity cancelled"
    assert await engine.result(handle) == expected
    assert engine.ledger(handle.id) == [("started", 1), ("cleaned up", 1), ("cancelled", 1)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_may_finish_all_the_same(engine: Environment, signal_queue: str, way: str):
    kind = "WAIT_CANCELLATION_COMPLETED"
    handle = await engine.start(flows.Cancellable.run, way, "ignores_cancellation", [], kind, task_queue=signal_queue)
    await engine.noted(handle.id, "started")
    await handle.signal(flows.Cancellable.cancel)
    assert await engine.result(handle) == "result finished all the same"


async def test_a_job_that_waits_for_a_retry_is_removed(engine: Environment, signal_queue: str):
    handle = await engine.start(
        flows.Cancellable.run, "delegate", "item", ["back off"], "WAIT_CANCELLATION_COMPLETED", task_queue=signal_queue
    )
    job = await engine.backs_off(handle.id)
    assert job.retry_in is not None and job.retry_in > timedelta(seconds=50), "the handler asked for a minute"
    await handle.signal(flows.Cancellable.cancel)
    assert await engine.result(handle) == "activity cancelled"
    assert engine.ledger(handle.id) == [("back off", 1)]


async def test_a_terminated_workflow_leaves_nothing(engine: Environment, signal_queue: str):
    with engine.held("terminated"):
        handle = await engine.start(
            flows.WaitsDirectly.run, "delegate", "noted", [1], id="terminated", task_queue=signal_queue
        )
        await engine.noted("terminated", "started")
        await handle.terminate()
    await engine.nothing_left()


async def test_jobs_canceled_together_are_canceled_by_one_local_activity(engine: Environment, signal_queue: str):
    ids = [f"together {number}" for number in range(20)]
    with engine.held("together"):
        handle = await engine.start(flows.OwnIds.run, ids, id="together", task_queue=signal_queue)
        await engine.noted("together", "started", 20)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await engine.result(handle)
    events = (await handle.fetch_history()).events
    markers = [event for event in events if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED]
    assert len(markers) == 2, "the enqueueing and the cancellation"
    await engine.nothing_left()
