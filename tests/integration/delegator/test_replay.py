"""Histories of every way to call a job replay, and so do those from before the delegation."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer, Worker
from temporalio.workflow import NondeterminismError

from delegator import PluginOptions
from tests.integration.delegator import flows, tasks
from tests.integration.delegator.environment import PATIENT, SHARED_MODULES, Environment, eventually

WORKFLOWS: list[tuple[Any, list[Any]]] = [
    *((flows.Travel.run, [way, "dataclass"]) for way in flows.WAYS),
    (flows.Sequence_.run, ["delegate", 3]),
    (flows.Sequence_.run, ["execute_activity", 3]),
    (flows.Many.run, ["delegate_map", 2_500]),
    (flows.Many.run, ["execute_activity", 500]),
    (flows.Mixed.run, []),
    (flows.CallsOne.run, ["delegate", "succeed_at", [2], {}]),
    (flows.CallsOne.run, ["execute_activity", "succeed_at", [2], {}]),
    (flows.Fails.run, ["delegate", "fail", ["Unlucky", True], 0, []]),
    (flows.Fails.run, ["execute_activity", "fail", ["Unlucky", True], 0, []]),
    (flows.CancelsAtOnce.run, ["delegate"]),
    (flows.CancelsAtOnce.run, ["execute_activity"]),
]


async def replay(engine: Environment, options: PluginOptions, *histories: WorkflowHistory) -> None:
    plugin = engine.plugin(options)

    async def recorded() -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history

    await Replayer(workflows=flows.ALL, workflow_runner=SHARED_MODULES, plugins=[plugin]).replay_workflows(recorded())


async def cancelled(engine: Environment, way: str, who: str, task_queue: str) -> WorkflowHandle[Any, Any]:
    handle = await engine.start(
        flows.Cancellable.run, way, "until_cancelled", [False], "WAIT_CANCELLATION_COMPLETED", task_queue=task_queue
    )
    await engine.noted(handle.id, "started")
    await (handle.signal(flows.Cancellable.cancel) if who == "task" else handle.cancel())
    return handle


@pytest.mark.parametrize("kind", ["inline", "signal"])
async def test_replay(engine: Environment, inline_queue: str, signal_queue: str, kind: str):
    """Histories of every way to call a job replay without an error."""
    task_queue = inline_queue if kind == "inline" else signal_queue
    handles = [await engine.start(run, *args, task_queue=task_queue) for run, args in WORKFLOWS]
    if kind == "signal":
        for way in ("delegate", "execute_activity"):
            handles += [await cancelled(engine, way, who, task_queue) for who in ("task", "workflow")]
    for handle in handles:
        await engine.result(handle)
    histories = [await handle.fetch_history() for handle in handles]
    await replay(engine, dataclasses.replace(PATIENT, intercept=True), *histories)


async def test_replay_ordinary_activities(engine: Environment):
    """A history of ordinary activities replays on a worker that delegates them."""
    handlers = [tasks.noted, tasks.double]
    async with Worker(
        engine.client,
        task_queue="before the switch",
        workflows=[flows.Sequence_],
        activities=[ordinary(handler) for handler in handlers],
        plugins=[engine.plugin()],
    ):
        handle = await engine.start(flows.Sequence_.run, "execute_activity", 3, task_queue="before the switch")
        assert await engine.result(handle) == [0, 1, 2]
    history = await handle.fetch_history()
    assert sum(event.HasField("activity_task_scheduled_event_attributes") for event in history.events) == 3
    await replay(engine, PluginOptions(intercept=True), history)
    with pytest.raises(NondeterminismError):
        await replay(engine, PluginOptions(intercept=True, patch=False), history)


def ordinary(handler: Any) -> Any:
    """Return an activity of the same name that needs no HTTP worker."""

    @activity.defn(name=handler.__name__)
    async def run(number: int) -> int:
        return number

    return run


async def test_switch_in_flight(engine: Environment):
    """A running workflow whose first activity was ordinary goes on with ordinary ones on a worker that delegates."""
    task_queue = "over the switch"
    without = engine.plugin()
    config: Any = {"task_queue": task_queue, "workflows": [flows.TwoSteps], "max_cached_workflows": 0}
    activities = [ordinary(tasks.noted)]
    async with Worker(engine.client, activities=activities, plugins=[without], **config):
        handle = await engine.start(flows.TwoSteps.run, task_queue=task_queue)

        async def first_step_done() -> bool:
            return bool(await handle.query(flows.TwoSteps.steps) == 1)

        await eventually(first_step_done)
    intercepting = engine.plugin(intercept=True)
    async with Worker(engine.client, activities=activities, plugins=[intercepting], **config):
        await handle.signal(flows.TwoSteps.go_on)
        assert await engine.result(handle) == [1, 2]
        history = await handle.fetch_history()
        assert sum(event.HasField("activity_task_scheduled_event_attributes") for event in history.events) == 2
        fresh = await engine.start(flows.TwoSteps.run, task_queue=task_queue)
        await fresh.signal(flows.TwoSteps.go_on)
        assert await engine.result(fresh) == [1, 2]
        history = await fresh.fetch_history()
        assert not any(event.HasField("activity_task_scheduled_event_attributes") for event in history.events)
