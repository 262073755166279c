"""One test for each way in which a job reaches a worker and its outcome reaches the workflow."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from tests.integration.delegator import flows
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import (
    BRIEF,
    OTHER_TASKS,
    OUTCOMES_SIGNAL,
    PATIENT,
    SIGNALLED,
    TASKS,
    Environment,
    eventually,
)

MARKER = EventType.EVENT_TYPE_MARKER_RECORDED
SIGNAL = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
TASK = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
ACTIVITY = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
TRAVELS = [
    (way, shape)
    for way in flows.WAYS
    for shape in flows.CALLS
    if (way, shape) != ("delegate_map", "several arguments")  # that is what delegate_starmap is for
]
PYDANTIC = "temporalio.contrib.pydantic:pydantic_data_converter"


async def counted(handle: WorkflowHandle[Any, Any]) -> Counter[Any]:
    """Count a history's events by type; local activities as "local"."""
    counts: Counter[Any] = Counter()
    for event in (await handle.fetch_history()).events:
        counts[event.event_type] += 1
        if event.event_type == MARKER and event.marker_recorded_event_attributes.marker_name == "core_local_activity":
            counts["local"] += 1
        if event.event_type == SIGNAL:
            assert event.workflow_execution_signaled_event_attributes.signal_name == OUTCOMES_SIGNAL
    return counts


async def travels_inline(engine: Environment, task_queue: str, way: str, shape: str) -> None:
    handle = await engine.start(flows.Travel.run, way, shape, task_queue=task_queue)
    assert await engine.result(handle) == "right"
    counts = await counted(handle)
    assert (counts[SIGNAL], counts["local"], counts[ACTIVITY], counts[TASK]) == (0, 1, 0, 1)


async def travels_by_signal(engine: Environment, task_queue: str, way: str, shape: str) -> None:
    handle = await engine.start(flows.Travel.run, way, shape, task_queue=task_queue)
    assert await engine.result(handle) == "right"
    counts = await counted(handle)
    assert (counts[SIGNAL], counts["local"], counts[ACTIVITY]) == (1, 1, 0)


async def travels_slowly(engine: Environment, way: str, shape: str) -> None:
    """The delegator waits inline, gives up while the handler still runs, and has the outcome signalled."""
    async with engine.worker(BRIEF, intercept=True, workflows=[flows.Travel]) as task_queue:
        workflow_id = f"slow {way} {shape} {uuid.uuid4()}"
        with engine.held(workflow_id):
            handle = await engine.start(flows.Travel.run, way, shape, id=workflow_id, task_queue=task_queue)
            await engine.noted(workflow_id, "started")

            async def nobody_waits() -> bool:
                (job,) = await engine.jobs(workflow_id)
                return not job.is_awaited and (await counted(handle))["local"] == 1

            await eventually(nobody_waits)
        assert await engine.result(handle) == "right"
        counts = await counted(handle)
        assert (counts[SIGNAL], counts["local"], counts[ACTIVITY]) == (1, 1, 0)


@pytest.mark.parametrize(("way", "shape"), TRAVELS)
async def test_inline(engine: Environment, inline_queue: str, way: str, shape: str):
    await travels_inline(engine, inline_queue, way, shape)


@pytest.mark.parametrize(("way", "shape"), TRAVELS)
async def test_by_signal(engine: Environment, signal_queue: str, way: str, shape: str):
    await travels_by_signal(engine, signal_queue, way, shape)


@pytest.mark.parametrize(("way", "shape"), TRAVELS)
async def test_by_signal_after_inline_wait(engine: Environment, way: str, shape: str):
    """A job that is slower than the inline wait completes by signal."""
    await travels_slowly(engine, way, shape)


@pytest.fixture(scope="module")
async def pydantic_engine(start_engine: StartEngine) -> AsyncIterator[Environment]:
    async with start_engine(data_converter=PYDANTIC) as engine:
        yield engine
        await engine.nothing_left()


@pytest.fixture(scope="module")
async def pydantic_queues(pydantic_engine: Environment) -> AsyncIterator[tuple[str, str]]:
    """Of a worker that waits inline, and of one that does not."""
    async with (
        pydantic_engine.worker(PATIENT, intercept=True) as inline,
        pydantic_engine.worker(SIGNALLED, intercept=True) as signalled,
    ):
        yield inline, signalled


@pytest.mark.parametrize("way", flows.WAYS)
async def test_pydantic_converter(pydantic_engine: Environment, pydantic_queues: tuple[str, str], way: str):
    """Every shape of a call works with the Pydantic data converter, inline and by signal."""
    inline, signalled = pydantic_queues
    for shape in flows.PYDANTIC_CALLS:
        if (way, shape) == ("delegate_map", "several arguments"):
            continue
        await travels_inline(pydantic_engine, inline, way, shape)
        await travels_by_signal(pydantic_engine, signalled, way, shape)
    await travels_slowly(pydantic_engine, way, "pydantic model")


@pytest.mark.parametrize("way", ["delegate", "execute_activity"])
async def test_sequence_is_one_task(engine: Environment, inline_queue: str, way: str):
    """Fast jobs that follow each other take one workflow task and no signal."""
    handle = await engine.start(flows.Sequence_.run, way, 5, task_queue=inline_queue)
    assert await engine.result(handle) == [0, 1, 2, 3, 4]
    counts = await counted(handle)
    assert (counts[TASK], counts["local"], counts[SIGNAL]) == (1, 5, 0)
    assert engine.ledger(handle.id) == [("started", 1)] * 5


@pytest.mark.parametrize("way", ["delegate_map", "delegate", "execute_activity"])
@pytest.mark.parametrize("kind", ["inline", "signal"])
async def test_fan_out_history(engine: Environment, inline_queue: str, signal_queue: str, kind: str, way: str):
    """A thousand calls at once add few events to the history."""
    task_queue = inline_queue if kind == "inline" else signal_queue
    handle = await engine.start(flows.Many.run, way, 1_000, task_queue=task_queue)
    assert await engine.result(handle)
    counts = await counted(handle)
    assert (counts["local"], counts[ACTIVITY]) == (1, 0)
    # Tens where it takes a second, as the load test sees; the signals to a fan-out grow slowly with its duration.
    assert (await handle.describe()).history_length <= 250


@pytest.mark.parametrize("kind", ["inline", "signal"])
async def test_ten_thousand_jobs(engine: Environment, inline_queue: str, signal_queue: str, kind: str):
    """Ten thousand jobs of one workflow complete in order and add few events to the history."""
    task_queue = inline_queue if kind == "inline" else signal_queue
    handle = await engine.start(flows.Many.run, "delegate_map", 10_000, task_queue=task_queue)
    assert await engine.result(handle), "results out of order"
    assert (await handle.describe()).history_length <= 100


async def test_one_request(engine: Environment, inline_queue: str):
    """Calls of every kind made at once are enqueued by one local activity."""
    handle = await engine.start(flows.Mixed.run, task_queue=inline_queue)
    assert await engine.result(handle) == [2, 4, [6, 8], "a 1 1/1", 2, None]
    counts = await counted(handle)
    assert (counts["local"], counts[ACTIVITY]) == (1, 0)


async def test_inline_wait_of_call(engine: Environment, inline_queue: str):
    """The inline wait of a call overrides that of the worker."""
    handle = await engine.start(flows.Uses.run, task_queue=inline_queue)
    assert await engine.result(handle) == [2, 4]
    assert (await counted(handle))[SIGNAL] >= 1


async def test_workflows_share_one_engine(engine: Environment, inline_queue: str, signal_queue: str):
    handles = await asyncio.gather(
        *(
            engine.start(flows.Sequence_.run, way, 3, task_queue=task_queue)
            for way in ("delegate", "execute_activity")
            for task_queue in (inline_queue, signal_queue)
            for _ in range(10)
        )
    )
    assert await asyncio.gather(*map(engine.result, handles)) == [[0, 1, 2]] * 40
    for handle in handles:
        assert engine.ledger(handle.id) == [("started", 1)] * 3


async def test_contracts_in_two_queues(start_engine: StartEngine):
    """Two HTTP workers serve contracts of two queues for one workflow."""
    async with start_engine(queues=("default", "other"), http_worker=False) as engine:
        modules = (TASKS, OTHER_TASKS)
        async with (
            engine.http_worker(modules=modules),
            engine.http_worker("--queue", "other", modules=(OTHER_TASKS,)),
            engine.worker(intercept=True) as task_queue,
        ):
            handle = await engine.start(flows.Elsewhere.run, task_queue=task_queue)
            assert await engine.result(handle) == [{"x": 2, "y": 3}, [3, 6, 9], {"x": 4, "y": 5}, 15]
            assert (await counted(handle))[ACTIVITY] == 0
            await both_are_awaited(engine, task_queue)
            await engine.nothing_left()


async def both_are_awaited(engine: Environment, task_queue: str) -> None:
    """Jobs of two queues run at the same time, and one local activity waits for both."""
    workflow_id = "both queues"
    with engine.held(workflow_id):
        handle = await engine.start(flows.BothQueues.run, id=workflow_id, task_queue=task_queue)

        async def are_awaited() -> bool:
            return [job.is_awaited for job in await engine.jobs(workflow_id)] == [True, True]

        await eventually(are_awaited)
    assert await engine.result(handle) == [{"x": 2, "y": 3}, 15]
    assert (await counted(handle))[SIGNAL] == 0


@pytest.mark.parametrize(
    "workflow_id",
    ["a,b;c:d", "\N{SNOWMAN} \N{GRINNING FACE}", "two\nlines", "'quoted' \"twice\" \\", "%s {} $1", "x" * 900],
)
async def test_workflow_ids_of_any_characters(
    engine: Environment, inline_queue: str, signal_queue: str, workflow_id: str
):
    for task_queue in (inline_queue, signal_queue):
        assert await engine.execute(flows.Many.run, "delegate_map", 3, id=workflow_id, task_queue=task_queue)
