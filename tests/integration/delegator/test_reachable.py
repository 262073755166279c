"""A workflow that makes quick calls without end stays reachable, as with ordinary activities."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.worker import Replayer

from tests.integration.delegator import tasks
from tests.integration.delegator.chain_flows import Chain
from tests.integration.delegator.environment import PATIENT, Environment, eventually

WAYS = ["ordinary activity", "delegate", "execute_activity"]
OPTIONS = replace(PATIENT, inline_wait=timedelta(milliseconds=200))


@pytest.fixture(scope="module")
async def task_queues(shared_engine: Environment) -> AsyncIterator[dict[str, str]]:
    """The task queues of a worker that runs the calls as activities, and of one that delegates them."""
    async with (
        shared_engine.worker(workflows=[Chain], activities=[tasks.double]) as ordinary,
        shared_engine.worker(OPTIONS, intercept=True, workflows=[Chain]) as delegating,
    ):
        yield {"ordinary activity": ordinary, "delegate": delegating, "execute_activity": delegating}


async def cancel(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.cancel()


async def stop(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.signal(Chain.stop)


async def stop_by_update(handle: WorkflowHandle[Any, Any]) -> None:
    assert await handle.execute_update(Chain.stop_now)


async def wait(handle: WorkflowHandle[Any, Any]) -> None:
    """Let the workflow end by itself."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("until", "reach", "expected"),
    [
        ("cancelled", cancel, "cancelled"),
        ("signalled", stop, "stopped"),
        ("updated", stop_by_update, "stopped"),
        ("timer", wait, "stopped"),
        ("wait_for", wait, "timed out"),
        ("timeout", wait, "timed out"),
        ("sibling", wait, "a sibling fails"),
    ],
)
async def test_chain_is_reached(
    engine: Environment,
    task_queues: dict[str, str],
    way: str,
    until: str,
    reach: Callable[[WorkflowHandle[Any, Any]], Awaitable[None]],
    expected: str,
):
    """What comes to the workflow ends a chain that would never end, and its history replays."""
    handle = await engine.start(Chain.run, way, until, task_queue=task_queues[way])

    async def has_begun() -> bool:
        return bool(await handle.query(Chain.steps))

    if reach is not wait:
        await eventually(has_begun)
        await reach(handle)
    try:
        outcome = await engine.result(handle)
    except WorkflowFailureError as error:
        assert isinstance(error.cause, CancelledError)
        outcome = "cancelled"
    assert outcome == expected
    plugin = engine.plugin(OPTIONS, intercept=way == "execute_activity")
    await Replayer(workflows=[Chain], plugins=[plugin]).replay_workflow(await handle.fetch_history())


@pytest.mark.postgres_only
async def test_reached_without_database(engine: Environment, task_queues: dict[str, str]):
    """A workflow whose jobs the database does not take is reached, and goes on when the database takes them."""
    url = engine.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as blocker:
        await blocker.execute("LOCK TABLE custom_task_queue IN ACCESS EXCLUSIVE MODE")
        handle = await engine.start(Chain.run, "delegate", "signalled", task_queue=task_queues["delegate"])

        async def is_put_off() -> bool:
            events = (await handle.fetch_history()).events
            return any(event.event_type == EventType.EVENT_TYPE_TIMER_STARTED for event in events)

        await eventually(is_put_off)
        assert await handle.query(Chain.steps) == 0

    async def goes_on() -> bool:
        return bool(await handle.query(Chain.steps))

    await eventually(goes_on)
    await handle.signal(Chain.stop)
    assert await engine.result(handle) == "stopped"
    await Replayer(workflows=[Chain], plugins=[engine.plugin(OPTIONS)]).replay_workflow(await handle.fetch_history())
