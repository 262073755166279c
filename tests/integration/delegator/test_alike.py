"""Workflow code gets the same from a delegated activity as from an ordinary one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from delegator.contracts import collect_handlers
from delegator.dev.temporal import NAMESPACE, TemporalServer
from tests.integration.delegator import tasks
from tests.integration.delegator.alike_flows import SCENARIOS, Plays
from tests.integration.delegator.environment import RESULT_TIMEOUT, SIGNALLED, Environment

Results = dict[str, Any]
WAITS = replace(SIGNALLED, inline_wait=timedelta(milliseconds=500))
NO_THROTTLE: Any = {
    "default_heartbeat_throttle_interval": timedelta(milliseconds=50),
    "max_heartbeat_throttle_interval": timedelta(milliseconds=50),
}


async def play(client: Client, task_queue: str) -> Results:
    """Play all scenarios at once."""

    async def one(scenario: str) -> Any:
        handle = await client.start_workflow(
            Plays.run, scenario, id=f"{scenario} on {task_queue}", task_queue=task_queue
        )
        try:
            return await asyncio.wait_for(handle.result(), RESULT_TIMEOUT)
        except Exception as error:
            return repr(error)

    return dict(zip(SCENARIOS, await asyncio.gather(*map(one, SCENARIOS)), strict=True))


@pytest.fixture(scope="session")
async def of_ordinary_activities(temporal: TemporalServer) -> Results:
    client = await Client.connect(temporal.address, namespace=NAMESPACE)
    with ThreadPoolExecutor() as threads:
        async with Worker(
            client,
            task_queue="ordinary",
            workflows=[Plays],
            activities=[handler.function for handler in collect_handlers([tasks]).values()],
            activity_executor=threads,
            **NO_THROTTLE,
        ):
            return await play(client, "ordinary")


@pytest.fixture(scope="module", params=["inline", "signalled"])
async def of_delegated_ones(
    request: pytest.FixtureRequest, of_ordinary_activities: Results, shared_engine: Environment
) -> Results:
    options = WAITS if request.param == "inline" else SIGNALLED
    async with shared_engine.worker(options, intercept=True, workflows=[Plays]) as task_queue:
        results = await play(shared_engine.client, task_queue)
        # The abandoned ones still run.
        over = shared_engine.directory / tasks.TEST_IS_OVER
        over.touch()
        await shared_engine.nothing_left()
        over.unlink()
    return results


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_alike(of_ordinary_activities: Results, of_delegated_ones: Results, scenario: str):
    assert of_delegated_ones[scenario] == of_ordinary_activities[scenario]
