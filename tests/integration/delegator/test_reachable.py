"""A workflow that makes quick calls without end stays reachable, as with ordinary activities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
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


EXPECTED = {
    "cancelled": "cancelled",
    "signalled": "stopped",
    "updated": "stopped",
    "timer": "stopped",
    "wait_for": "timed out",
    "timeout": "timed out",
    "sibling": "a sibling fails",
}
"""What comes to a chain, and how it ends because of that."""


@pytest.mark.parametrize("way", WAYS)
async def test_chain_is_reached(engine: Environment, task_queues: dict[str, str], way: str):
    """What comes to a workflow ends a chain that would never end, and its history replays."""
    chains = [chain(engine, way, until, task_queues[way]) for until in EXPECTED]
    assert dict(zip(EXPECTED, await asyncio.gather(*chains), strict=True)) == EXPECTED


async def chain(engine: Environment, way: str, until: str, task_queue: str) -> str:
    """Run a workflow until something reaches it, and say how it ended."""
    handle = await engine.start(Chain.run, way, until, task_queue=task_queue)
    match until:
        case "cancelled":
            await has_begun(handle)
            await handle.cancel()
        case "signalled":
            await has_begun(handle)
            await handle.signal(Chain.stop)
        case "updated":
            await has_begun(handle)
            assert await handle.execute_update(Chain.stop_now)
    try:
        outcome = str(await engine.result(handle))
    except WorkflowFailureError as error:
        assert isinstance(error.cause, CancelledError)
        outcome = "cancelled"
    plugin = engine.plugin(OPTIONS, intercept=way == "execute_activity")
    await Replayer(workflows=[Chain], plugins=[plugin]).replay_workflow(await handle.fetch_history())
    return outcome


async def has_begun(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the workflow answers that it has made a step."""

    async def answers() -> bool:
        return bool(await handle.query(Chain.steps))

    await eventually(answers)


@pytest.mark.postgres_only
async def test_reached_without_database(engine: Environment, task_queues: dict[str, str]):
    """A workflow whose worker has no connection to the database is reached, and goes on when there is one."""
    handle = await engine.start(Chain.run, "delegate", "signalled", task_queue=task_queues["delegate"])
    await has_begun(handle)
    async with without_connections(engine):

        async def is_put_off() -> bool:
            events = (await handle.fetch_history()).events
            return any(event.event_type == EventType.EVENT_TYPE_TIMER_STARTED for event in events)

        await eventually(is_put_off)
        steps = await handle.query(Chain.steps)

    async def goes_on() -> bool:
        return bool(await handle.query(Chain.steps) > steps)

    await eventually(goes_on)
    await handle.signal(Chain.stop)
    assert await engine.result(handle) == "stopped"
    await Replayer(workflows=[Chain], plugins=[engine.plugin(OPTIONS)]).replay_workflow(await handle.fetch_history())


@asynccontextmanager
async def without_connections(engine: Environment) -> AsyncIterator[None]:
    """Close the enqueuers' connections, and allow nobody to open one within the block."""
    url = engine.settings.database_url.get_secret_value()
    name = conninfo_to_dict(url)["dbname"]
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    admin_url = make_conninfo(url, dbname="postgres")
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as admin:
        await admin.execute(allow.format(sql.Identifier(str(name)), sql.Literal(False)))
        try:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'delegator plugin'",
                [name],
            )
            yield
        finally:
            await admin.execute(allow.format(sql.Identifier(str(name)), sql.Literal(True)))
