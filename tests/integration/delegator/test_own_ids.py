"""Ids that callers give to jobs: within a workflow run, or across workflows."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.worker import Replayer

from delegator.wire.frames import to_raw_value
from delegator.wire.outcomes import pack_reply, pack_signal, unpack_reply, unpack_signal
from delegator.wire.requests import Asked, own_job_id
from tests.integration.delegator import flows, id_flows
from tests.integration.delegator.environment import OUTCOMES_SIGNAL, SIGNALLED, Environment
from tests.integration.delegator.test_once import completed


@pytest.fixture(scope="module", params=["inline", "signalled"])
async def task_queue(request: pytest.FixtureRequest, shared_engine: Environment) -> AsyncIterator[str]:
    options = replace(SIGNALLED, inline_wait=timedelta(milliseconds=500)) if request.param == "inline" else SIGNALLED
    async with shared_engine.worker(options, workflows=id_flows.ALL) as task_queue:
        yield task_queue


async def test_early_outcome(engine: Environment):
    """An outcome that arrives before the code that makes the call is not lost, and the job is not run."""
    task_queue = f"early-{uuid.uuid4()}"
    handle = await engine.start(flows.SameId.run, "mine", task_queue=task_queue)
    job_id = own_job_id(handle.first_execution_run_id or "", "mine")
    await handle.signal(OUTCOMES_SIGNAL, to_raw_value(pack_signal([(job_id, completed(41))])))
    async with engine.worker(task_queue=task_queue, workflows=[flows.SameId]):
        assert (await engine.result(handle))[0] == 41
    assert engine.ledger(handle.id) == []
    assert await engine.jobs(handle.id) == []


async def test_same_job_id(engine: Environment, inline_queue: str):
    """A second call with the same job id fails, and its job is not run."""
    handle = await engine.start(flows.SameId.run, "mine", task_queue=inline_queue)
    first, error = await engine.result(handle)
    assert first == 1
    assert error == "job id 'mine' was already used in this workflow run"
    assert engine.ledger(handle.id) == [("started", 1)]


async def test_long_job_ids(engine: Environment, inline_queue: str):
    """Many jobs with ids of the greatest length complete together."""
    ids = [f"{number}, {uuid.uuid4()} ".ljust(500, "x") for number in range(200)]
    with engine.held("long ids"):  # so that they complete together
        handle = await engine.start(flows.OwnIds.run, ids, id="long ids", task_queue=inline_queue)
        await engine.noted("long ids", "started", 200)
    assert await engine.result(handle) == list(range(200))
    assert "finish_failed" not in engine.logs(), "the batch was refused, and finished one by one"


async def test_refused_ids(engine: Environment, task_queue: str):
    """An id of a wrong length is refused, and a unique one that could be that of a run's job."""
    job_ids = ["", "a\0b", "line\nbreak", "x" * 501]
    unique_ids = ["", f"{uuid.uuid4()}:7", f"{uuid.uuid4()}/mine", f"activity:{uuid.uuid4()}:1:1"]
    messages = await engine.execute(id_flows.RefusedIds.run, job_ids, unique_ids, task_queue=task_queue)
    assert [message[:46] for message in messages[:5]] == ["a job id has 1 to 500 bytes and only printable"] * 5
    assert [message[:46] for message in messages[5:8]] == ["a unique id must not begin like the id of a ru"] * 3
    assert messages[8:] == ["give a job_id or a unique_id, not both"]


async def test_same_id_in_two_workflows(engine: Environment, task_queue: str):
    """An id belongs to its run: workflows that use the same one have a job each, and each gets its own result."""
    with engine.held("first"), engine.held("second"):
        handles = [
            await engine.start(id_flows.OwnId.run, "order", number, id=name, task_queue=task_queue)
            for number, name in enumerate(["first", "second"])
        ]
        for handle in handles:
            await engine.noted(handle.id, "started")
    for number, handle in enumerate(handles):
        assert await engine.result(handle) == [number, handle.first_execution_run_id]
        assert {line["job"] for line in engine.ledger_lines() if line["workflow"] == handle.id} >= {
            own_job_id(handle.first_execution_run_id or "", "order")
        }


async def test_same_id_after_continue_as_new(engine: Environment, task_queue: str):
    """The result of an earlier run's job is not that of the next run's."""
    workflow_id = f"continues with its id on {task_queue}"
    with engine.held(workflow_id):
        handle = await engine.start(id_flows.OwnId.run, "order", 5, 1, id=workflow_id, task_queue=task_queue)
        await engine.noted(workflow_id, "started", 2)
    assert (await engine.result(handle))[0] == 5


async def test_unique_id(engine: Environment, task_queue: str):
    """While a job with a unique id has not ended, calls of others fail; after that the id is free."""
    unique_id, first = f"invoice of {task_queue}", f"has the id on {task_queue}"

    async def call(number: int, **options: Any) -> Any:
        return await engine.start(id_flows.UniqueId.run, unique_id, number, task_queue=task_queue, **options)

    with engine.held(first):
        holder = await call(1, id=first)
        await engine.noted(first, "started")
        said = f"unique id {unique_id!r} is that of a job of workflow {first!r}, which has not ended"
        results = await asyncio.gather(*[engine.result(await call(number)) for number in (2, 3)])
        assert results == [["JobIdInUse", said, True]] * 2
        (job,) = [job for job in await engine.jobs(first)]
        assert not job.is_finished
    assert await engine.result(holder) == 1
    assert {line["job"] for line in engine.ledger_lines() if line["workflow"] == first} == {unique_id}
    await engine.nothing_left()
    assert await engine.result(await call(4)) == 4


@pytest.mark.postgres_only
async def test_unique_id_of_a_task_that_is_run_again(engine: Environment):
    """A local activity that is run again finds the job that it enqueued before, and does not take it for another's."""
    task_queue = workflow_id = f"run again-{uuid.uuid4()}"
    handle = await engine.start(id_flows.UniqueId.run, workflow_id, 6, id=workflow_id, task_queue=task_queue)
    await engine.query(
        "INSERT INTO custom_task_queue (job_id, job_type, namespace, workflow_id, run_id, input) "
        "VALUES (%s, 'noted', %s, %s, %s::uuid, %s) RETURNING 1",
        *(workflow_id, engine.client.namespace, workflow_id, handle.first_execution_run_id, completed(7).body),
    )
    async with engine.worker(SIGNALLED, task_queue=task_queue, workflows=id_flows.ALL):
        assert await engine.result(handle) == 7


async def test_ids_of_older_releases(engine: Environment):
    """A history of a release that took chosen ids as they were replays: the signal names the id without the run."""
    options = replace(SIGNALLED, look_after=timedelta(0))  # those releases took no timers
    async with engine.worker(options, workflows=id_flows.ALL) as task_queue:
        handle = await engine.start(id_flows.OwnId.run, "order", 5, task_queue=task_queue)
        await engine.result(handle)
    history = await handle.fetch_history()
    run_id = handle.first_execution_run_id or ""
    changed = 0
    for event in history.events:
        if event.HasField("marker_recorded_event_attributes"):
            (payload,) = event.marker_recorded_event_attributes.details["result"].payloads
            reply = unpack_reply(payload.data)
            assert reply.outcomes == [None] and reply.asked.calls == [(1, 1)]
            payload.data = pack_reply(run_id, {}, Asked(reply.asked.types))
            changed += 1
        elif event.HasField("workflow_execution_signaled_event_attributes"):
            (payload,) = event.workflow_execution_signaled_event_attributes.input.payloads
            ((job_id, outcome),) = unpack_signal(payload.data)
            assert job_id == own_job_id(run_id, "order")
            payload.data = pack_signal([("order", outcome)])
            changed += 1
    assert changed == 2
    replayer = Replayer(workflows=id_flows.ALL, plugins=[engine.plugin(SIGNALLED)])
    await replayer.replay_workflow(history)
