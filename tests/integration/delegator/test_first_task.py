"""How long workflows wait for their first task, as the worker sees it: what it gathers by."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from delegator.sandbox import delegating_runner
from delegator.workflow.interceptor import DelegationInterceptor
from tests.integration.delegator import flows
from tests.integration.delegator.environment import Environment


async def test_the_wait_for_a_worker_is_told_once(engine: Environment):
    waits: list[float] = []
    converter = engine.client.data_converter
    config: Any = {
        "task_queue": f"first task {uuid.uuid4()}",
        "workflows": [flows.BeginsAgain],
        "interceptors": [DelegationInterceptor({}, converter, patch=False, first_task_waited=waits.append)],
        "workflow_runner": delegating_runner(None, converter),
        "max_cached_workflows": 0,
    }
    begun = asyncio.get_running_loop().time()
    handle = await engine.start(
        flows.BeginsAgain.run,
        task_queue=config["task_queue"],
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
    )
    await asyncio.sleep(0.5)
    async with Worker(engine.client, **config):
        assert await engine.result(handle) == 1
        assert await handle.query(flows.BeginsAgain.answers)
    assert len(waits) == 1, "retries, later runs and replays do not begin when they are due"
    assert 0.5 <= waits[0] < asyncio.get_running_loop().time() - begun
