"""A job completes exactly once, as its workflow sees it, and leaves no row."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.converter import DataConverter

from delegator.completion.mailbox import Delivery
from delegator.completion.runs import RunKey
from delegator.completion.signals import SignalSender
from delegator.wire.frames import to_raw_value
from delegator.wire.outcomes import Outcome, OutcomeStatus, pack_signal
from delegator.wire.requests import own_job_id
from tests.integration.delegator import flows
from tests.integration.delegator.environment import OUTCOMES_SIGNAL, PATIENT, ROOT, SIGNALLED, Environment, eventually


def completed(result: Any) -> Outcome:
    payloads = DataConverter.default.payload_converter.to_payloads([result])
    return Outcome(OutcomeStatus.COMPLETED, Payloads(payloads=payloads).SerializeToString())


async def test_repeated_outcomes(engine: Environment, signal_queue: str):
    """A workflow ignores outcomes that it has already, and outcomes of jobs that are not its own."""
    handle = await engine.start(flows.AttemptOutcome.run, task_queue=signal_queue)

    async def signals() -> list[Any]:
        return [
            event.workflow_execution_signaled_event_attributes.input
            for event in (await handle.fetch_history()).events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]

    (sent,) = await eventually(signals)
    run_id = handle.first_execution_run_id
    forged = [(f"{run_id}:0", completed(99)), ("nobody's", completed(98)), (f"{run_id}:77", completed(97))]
    for frame in (sent.payloads[0].data, sent.payloads[0].data, pack_signal(forged)):
        await handle.signal(OUTCOMES_SIGNAL, to_raw_value(frame))
    await handle.signal(flows.AttemptOutcome.finish)
    assert await engine.result(handle) == [5, 6]
    assert engine.ledger(handle.id) == [("started", 1), ("started", 1)]


async def test_another_call(engine: Environment, inline_queue: str):
    """A call does not get the outcome of a call that stood in its place when the workflow task failed."""
    handle = await engine.start(flows.SecondThoughts.run, task_queue=inline_queue)
    assert await engine.result(handle) == b"ba"
    assert flows.BEGUN[handle.id] == 2


@pytest.mark.postgres_only
async def test_finished_rows_vanish(engine: Environment, inline_queue: str):
    """The row of a finished job is deleted after the result TTL."""
    with engine.held("finishes"):
        handle = await engine.start(flows.Sequence_.run, "delegate", 1, id="finishes", task_queue=inline_queue)
        await engine.noted("finishes", "started")
    await engine.result(handle)

    async def gone() -> bool:
        return not await engine.rows("workflow_id = 'finishes'")

    await eventually(gone)


async def test_equal_signals(engine: Environment, signal_queue: str):
    """A second signal with the same content counts: its worker died before it could delete the rows."""
    ids = ["alike a", "alike b", "alike c"]
    with engine.held("alike"):
        handle = await engine.start(flows.OwnIds.run, ids, id="alike", task_queue=signal_queue)
        await engine.noted("alike", "started", 3)
        run = RunKey(engine.client.namespace, "alike", handle.first_execution_run_id or "")
        numbers = zip(ids, (7, 8, 9), strict=True)
        outcomes = [(own_job_id(run.run_id, own_id), completed(number)) for own_id, number in numbers]
        for second in (1, 2):
            sender = SignalSender(engine.client, identity=f"worker {second}")
            assert await sender.deliver(run, [outcomes[0], outcomes[second]]) in (Delivery.DELIVERED, Delivery.LATE)
            await sender.close()
        assert await engine.result(handle) == [7, 8, 9]


async def test_signals_wait_for_task_end(engine: Environment, inline_queue: str):
    """Signals wait while a workflow task runs: Temporal fails a task beside which too many of them arrive."""
    sender = SignalSender(engine.client, identity="test")
    many = [(f"nobody's {number}", completed("x" * 10_000)) for number in range(500)]
    with engine.held("fills"):
        handle = await engine.start(flows.AttemptOutcome.run, id="fills", task_queue=inline_queue)
        await engine.noted("fills", "started")
        run = RunKey(engine.client.namespace, "fills", handle.first_execution_run_id or "")
        delivering = asyncio.create_task(sender.deliver(run, many))
        done, _ = await asyncio.wait([delivering], timeout=1.5)
        assert not done
    assert await delivering in (Delivery.DELIVERED, Delivery.LATE)
    await sender.close()
    await handle.signal(flows.AttemptOutcome.finish)
    assert await engine.result(handle) == [5, 6]
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in kinds


async def test_dynamic_signal_handler(engine: Environment, signal_queue: str):
    """A workflow's dynamic signal handler does not receive the signals that carry outcomes."""
    handle = await engine.start(flows.CatchesSignals.run, task_queue=signal_queue)
    await handle.signal("anything")
    assert await engine.result(handle) == [8, ["anything"]]


async def test_continue_as_new(engine: Environment, signal_queue: str):
    """A job of a run that continued as new leaves no row, and does not disturb the next run."""
    with engine.held("continues"):
        handle = await engine.start(flows.ContinuesAsNew.run, 1, id="continues", task_queue=signal_queue)
        await engine.noted("continues", "started", 2)
    assert await engine.result(handle) == "2"
    await engine.nothing_left()


@pytest.mark.parametrize("task", [1, 2], ids=["before it was enqueued", "after it was enqueued"])
async def test_reset(engine: Environment, signal_queue: str, task: int):
    """After a reset every result arrives. A job that was enqueued before the reset's point may be enqueued again, too.

    It is, as Temporal schedules a pending activity again, unless its outcome reaches the new run first.
    """
    workflow_id = f"reset to task {task}"
    with engine.held(workflow_id):
        handle = await engine.start(flows.AttemptOutcome.run, id=workflow_id, task_queue=signal_queue)
        await engine.noted(workflow_id, "started")
        await handle.signal(flows.AttemptOutcome.finish)

        async def finished_tasks() -> list[int] | None:
            events = (await handle.fetch_history()).events
            ids = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
            return ids if len(ids) == 2 else None

        finished = await eventually(finished_tasks)
        await engine.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=engine.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                reason="test",
                workflow_task_finish_event_id=finished[task - 1],
                request_id=str(uuid.uuid4()),
            )
        )
    assert await engine.result(engine.client.get_workflow_handle(workflow_id)) == [5, 6]
    starts = len(engine.ledger(workflow_id))
    assert starts == 3 if task == 1 else starts in (2, 3)


async def test_eviction(engine: Environment):
    """Workflows that leave the cache after each task get all their results."""
    async with engine.worker(SIGNALLED, intercept=True, max_cached_workflows=0) as task_queue:
        # One after the other: the SDK drops a local activity whose workflow is evicted, with its workflow task.
        for way in ("delegate", "execute_activity"):
            assert await engine.execute(flows.Sequence_.run, way, 3, task_queue=task_queue) == [0, 1, 2]
        for way in ("delegate_map", "execute_activity"):
            assert await engine.execute(flows.Many.run, way, 50, task_queue=task_queue)
        assert await engine.execute(flows.Mixed.run, task_queue=task_queue) == [2, 4, [6, 8], "a 1 1/1", 2, None]


@pytest.mark.parametrize("way", ["delegate", "delegate_map", "execute_activity"])
async def test_eviction_during_cancellation(engine: Environment, way: str):
    """A workflow that leaves the cache while it waits for a cancellation completes."""
    kind = "WAIT_CANCELLATION_COMPLETED"
    async with engine.worker(SIGNALLED, intercept=True, max_cached_workflows=0) as task_queue:
        handle = await engine.start(flows.Cancellable.run, way, "until_cancelled", [True], kind, task_queue=task_queue)
        await engine.noted(handle.id, "started")
        await handle.signal(flows.Cancellable.cancel)
        assert await engine.result(handle) == "activity cancelled"


@pytest.mark.postgres_only
@pytest.mark.parametrize("finishes", ["before", "after"])
@pytest.mark.parametrize("way", ["delegate", "execute_activity"])
async def test_kill_in_inline_wait(engine: Environment, way: str, finishes: str):
    """Another worker completes the workflow when one dies during its inline wait; no job runs twice."""
    task_queue = f"killed-{uuid.uuid4()}"
    workflow_id = f"{way}, job finishes {finishes} the take-over"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.delegator.temporal_worker", task_queue),
        cwd=ROOT,
        env=engine.variables,
    )

    async def row() -> dict[str, Any] | None:
        rows = await engine.rows("workflow_id = %s", workflow_id)
        return rows[0] if rows else None

    gate = engine.held(workflow_id)
    gate.__enter__()
    try:
        handle = await engine.start(
            flows.WaitsDirectly.run,
            *(way, "noted", [7]),
            id=workflow_id,
            task_queue=task_queue,
            task_timeout=timedelta(seconds=2),
        )
        await engine.noted(workflow_id, "started")
        waiter = (await eventually(row))["waiter_id"]
        assert waiter is not None
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    if finishes == "before":
        gate.__exit__(None, None, None)

        async def stored() -> bool:
            found = await row()
            return found is not None and found["outcome"] == "completed"

        await eventually(stored)
    async with engine.worker(PATIENT, intercept=True, task_queue=task_queue, workflows=[flows.WaitsDirectly]):
        if finishes == "after":

            async def adopted() -> bool:
                found = await row()
                return found is not None and found["waiter_id"] not in (None, waiter)

            await eventually(adopted)
            gate.__exit__(None, None, None)
        assert await engine.result(handle) == 7
    assert engine.ledger(workflow_id) == [("started", 1)]
