"""The worker measures how long workflows wait for their first task, and gathers calls accordingly."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.client import WorkflowContinuedAsNewError
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from delegator.enqueue import busyness
from delegator.workflow.interceptor import DelegationInterceptor
from delegator.workflow.sandbox import delegating_runner
from tests.integration.delegator import flows
from tests.integration.delegator.environment import PATIENT, Environment


def listening_worker(engine: Environment, waits: list[float], task_queue: str) -> Worker:
    """A worker that notes the reported waits, and keeps no workflow in its cache."""
    converter = engine.client.data_converter
    return Worker(
        engine.client,
        task_queue=task_queue,
        workflows=[flows.BeginsAgain],
        interceptors=[
            DelegationInterceptor({}, converter, patch=False, task_queues={}, first_task_waited=waits.append)
        ],
        workflow_runner=delegating_runner(None, converter),
        max_cached_workflows=0,
    )


async def test_wait_is_reported(engine: Environment):
    """The worker learns how long a workflow waited for its first task, once for each workflow."""
    waits: list[float] = []
    task_queue = f"first task {uuid.uuid4()}"
    begun = asyncio.get_running_loop().time()
    handle = await engine.start(
        flows.BeginsAgain.run,
        task_queue=task_queue,
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
    )
    await asyncio.sleep(0.5)
    async with listening_worker(engine, waits, task_queue):
        assert await engine.result(handle) == 1
        assert len(waits) == 1, "retries and later runs do not begin when they are due"
        assert 0.5 <= waits[0] < asyncio.get_running_loop().time() - begun


async def test_replay_does_not_count(engine: Environment):
    """The replay of a workflow does not count as a wait."""
    waits: list[float] = []
    task_queue = f"first task {uuid.uuid4()}"
    async with listening_worker(engine, waits, task_queue):
        handle = await engine.start(flows.BeginsAgain.run, 1, task_queue=task_queue)
        assert await engine.result(handle) == 1
        assert await handle.query(flows.BeginsAgain.answers)
    assert len(waits) == 1


async def test_cron_delay_does_not_count(engine: Environment):
    """The delay of a cron schedule does not count as a wait."""
    waits: list[float] = []
    task_queue = f"first task {uuid.uuid4()}"
    async with listening_worker(engine, waits, task_queue):
        handle = await engine.start(flows.BeginsAgain.run, 1, task_queue=task_queue, cron_schedule="@every 1s")
        first = engine.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        with pytest.raises(WorkflowContinuedAsNewError):  # it is over, and the next one has been scheduled
            await first.result(follow_runs=False)
        await engine.client.get_workflow_handle(handle.id).terminate()
    assert waits == []


@pytest.mark.postgres_only
async def test_gathers_after_waits(engine: Environment, monkeypatch: pytest.MonkeyPatch):
    """A worker gathers calls for longer after workflows have waited for their first task."""
    # This process is busy at first, and the calls of the backlog gather for that reason. The waits are noted before.
    monkeypatch.setattr(busyness, "_STALE_SECONDS", 60)
    task_queue = f"backlog {uuid.uuid4()}"
    options = replace(PATIENT, gather=timedelta(seconds=1))
    late = [await engine.start(flows.Sequence_.run, "delegate", 1, task_queue=task_queue) for _ in range(20)]
    await asyncio.sleep(2)
    async with engine.worker(options, task_queue=task_queue, workflows=[flows.Sequence_]):
        for handle in late:
            assert await engine.result(handle) == [0]
        begun = asyncio.get_running_loop().time()
        assert await engine.execute(flows.Sequence_.run, "delegate", 1, task_queue=task_queue) == [0]
        # A tenth of the average wait, in which one that did not have to wait counts for a fifth.
        assert asyncio.get_running_loop().time() - begun >= 0.1 * (0.8 * 1.9 - 0.1)
