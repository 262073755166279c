"""No workflow waits for a row that is gone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.worker import Replayer

from delegator.postgres.connections import connect
from delegator.workflow import lost_jobs
from tests.integration.delegator import flows
from tests.integration.delegator.environment import SHARED_MODULES, SIGNALLED, Environment, eventually

WATCHFUL = replace(SIGNALLED, look_after=timedelta(milliseconds=300))


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_jobs, "_ASK_AGAIN_SECONDS", 0.3)
    monkeypatch.setattr(lost_jobs, "GRACE_SECONDS", 1.0)


@pytest.fixture
async def watchful_queue(idle_engine: Environment) -> AsyncIterator[str]:
    async with idle_engine.worker(WATCHFUL) as task_queue:
        yield task_queue


async def events(handle: WorkflowHandle[Any, Any]) -> Counter[str]:
    names = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
    return Counter(name.removeprefix("EVENT_TYPE_") for name in names)


async def summaries(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """What the events say about themselves in Temporal's UI."""
    found = [event.user_metadata.summary.data for event in (await handle.fetch_history()).events]
    return {json.loads(data) for data in found if data}


async def row_is_lost(engine: Environment, handle: WorkflowHandle[Any, Any]) -> None:
    """Wait for the workflow's job, and delete its row as a failover loses it."""

    async def is_there() -> list[object]:
        return await engine.query("DELETE FROM custom_task_queue WHERE workflow_id = %s RETURNING job_id", handle.id)

    await eventually(is_there)


async def renamed(engine: Environment, table: str, name: str) -> None:
    async with await connect(engine.settings.database_url.get_secret_value(), application_name="test") as db:
        await db.execute(f"ALTER TABLE {table} RENAME TO {name}".encode())


async def replays(engine: Environment, handle: WorkflowHandle[Any, Any]) -> None:
    """The history replays, so the timer and the questions are where the replay has them."""
    replayer = Replayer(workflows=flows.ALL, workflow_runner=SHARED_MODULES, plugins=[engine.plugin(WATCHFUL)])
    await replayer.replay_workflow(await handle.fetch_history())


@pytest.mark.postgres_only
async def test_lost_row_is_enqueued_again(idle_engine: Environment, watchful_queue: str) -> None:
    """A job whose row is lost is enqueued again, with its id, and the workflow gets its outcome."""
    handle = await idle_engine.start(flows.Sequence_.run, "delegate", 1, task_queue=watchful_queue)
    await row_is_lost(idle_engine, handle)
    async with idle_engine.http_worker():
        assert await idle_engine.result(handle) == [0]
        await idle_engine.nothing_left()
    await replays(idle_engine, handle)


@pytest.mark.postgres_only
async def test_waiting_row_is_left(idle_engine: Environment, watchful_queue: str) -> None:
    """A job that only waits long is not enqueued again, however often the workflow asks. It is run once.

    Temporal's UI says of each event what it is for.
    """
    handle = await idle_engine.start(flows.Sequence_.run, "delegate", 1, task_queue=watchful_queue)

    async def has_asked_twice() -> bool:
        return (await events(handle))["TIMER_FIRED"] >= 2

    await eventually(has_asked_twice)
    async with idle_engine.http_worker():
        assert await idle_engine.result(handle) == [0]
        await idle_engine.nothing_left()
    assert idle_engine.ledger(handle.id) == [("started", 1)]
    assert await summaries(handle) == {"1 x noted", "waits for 1 x noted", "asks for 1 x noted"}
    await replays(idle_engine, handle)


@pytest.mark.postgres_only
async def test_deadline_outlives_row(idle_engine: Environment) -> None:
    """A workflow keeps the schedule-to-close timeout of a job whose row is lost, without a question to the queue."""
    async with idle_engine.worker(replace(WATCHFUL, look_after=timedelta(0))) as task_queue:
        options = {"schedule_to_close_timeout": 1.0}
        handle = await idle_engine.start(flows.CallsOne.run, "delegate", "noted", [1], options, task_queue=task_queue)
        await row_is_lost(idle_engine, handle)
        outcome = await idle_engine.result(handle)
        assert "SCHEDULE_TO_CLOSE" in str(outcome), outcome
        assert (await events(handle))["TIMER_FIRED"] == 1
        await replays(idle_engine, handle)


async def test_paused_job_outlives_deadline(idle_engine: Environment) -> None:
    """The deadline of a paused job stands still: its workflow waits beyond it, and gets the result after the pause."""
    never_asks = replace(WATCHFUL, look_after=timedelta(0))
    async with idle_engine.http_worker(), idle_engine.worker(never_asks) as task_queue:
        async with idle_engine.paused("noted"):
            options = {"schedule_to_close_timeout": 3.0}
            handle = await idle_engine.start(
                flows.CallsOne.run, "delegate", "noted", [1], options, task_queue=task_queue
            )

            async def has_asked_at_deadline() -> bool:
                return "asks for 1 x noted" in await summaries(handle) and (await events(handle))["TIMER_STARTED"] == 2

            await eventually(has_asked_at_deadline)
        assert await idle_engine.result(handle) == 1
        await idle_engine.nothing_left()
    await replays(idle_engine, handle)


@pytest.mark.postgres_only
async def test_deadline_without_queue(idle_engine: Environment, watchful_queue: str) -> None:
    """A call whose queue can't take it, because its table is gone, ends by its schedule-to-close timeout."""
    # A worker that starts without the table refuses to.
    assert await idle_engine.execute(flows.BeginsAgain.run, 1, task_queue=watchful_queue) == 1
    await renamed(idle_engine, "custom_task_queue", "away")
    try:
        options = {"schedule_to_close_timeout": 1.0}
        handle = await idle_engine.start(
            flows.CallsOne.run, "delegate", "noted", [1], options, task_queue=watchful_queue
        )
        assert "SCHEDULE_TO_CLOSE" in str(await idle_engine.result(handle))
    finally:
        await renamed(idle_engine, "away", "custom_task_queue")


async def test_quick_jobs_take_no_timer(engine: Environment, inline_queue: str) -> None:
    """A workflow whose jobs end inline has no timer, and no event more than before."""
    handle = await engine.start(flows.Sequence_.run, "delegate", 3, task_queue=inline_queue)
    assert await engine.result(handle) == [0, 1, 2]
    assert not [name for name in await events(handle) if name.startswith("TIMER")]


@pytest.mark.postgres_only
async def test_one_timer_for_all_jobs(engine: Environment, signal_queue: str) -> None:
    """Many jobs that a workflow waits for together take one timer, which is cancelled with the last outcome."""
    handle = await engine.start(flows.Many.run, "delegate", 50, task_queue=signal_queue)
    await engine.result(handle)
    counted = await events(handle)
    assert (counted["TIMER_STARTED"], counted["TIMER_CANCELED"], counted["TIMER_FIRED"]) == (1, 1, 0)
