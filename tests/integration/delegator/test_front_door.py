"""What an application uses: connect(), HttpWorker, resources, methods, existing activities."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import TimeoutError, TimeoutType
from temporalio.worker import Worker

from delegator import ConfigurationError, PluginOptions, connect, existing_activities, resource
from delegator.dev.temporal import TemporalServer
from delegator.errors import DatabaseError, ResourceError
from http_workers import HttpWorker
from tests.integration.delegator import front_flows as flows
from tests.integration.delegator import front_tasks as tasks
from tests.integration.delegator.environment import RESULT_TIMEOUT, Environment, environment
from tests.support import Databases

OPTIONS = PluginOptions(inline_wait=timedelta(seconds=5), connections=2)


@pytest.fixture(scope="module")
async def bare_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


@pytest.fixture(autouse=True)
def settings_in_environment(bare_engine: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bare_engine.variables.items():
        if name.startswith(("DELEGATOR_", "TEMPORAL_")):
            monkeypatch.setenv(name, value)


@asynccontextmanager
async def temporal_worker(client: Client, **config: Any) -> AsyncIterator[str]:
    task_queue = f"queue-{uuid.uuid4()}"
    workflows = [flows.EveryKind, flows.Put, flows.Unedited, flows.Waits, flows.Meets, flows.Mistyped]
    async with Worker(client, task_queue=task_queue, workflows=workflows, **config):
        yield task_queue


async def result_of(client: Client, run: Any, task_queue: str, *args: Any) -> Any:
    return await client.execute_workflow(
        run,
        args=args,
        id=f"front-{uuid.uuid4()}",
        task_queue=task_queue,
        execution_timeout=timedelta(seconds=RESULT_TIMEOUT),
    )


async def test_handlers_of_every_kind(bare_engine: Environment) -> None:
    client = await connect(options=OPTIONS)
    async with HttpWorker([tasks, tasks.Emails("me")]) as worker, temporal_worker(client) as task_queue:
        assert worker.is_running
        assert await result_of(client, flows.EveryKind.run, task_queue) == flows.EVERY_KIND
    assert not worker.is_running
    await bare_engine.nothing_left()


async def test_a_resource_is_opened_before_the_first_job_and_closed_after_the_last(bare_engine: Environment) -> None:
    """Also one that uses another, and whose object's methods are handlers."""
    tasks.EVENTS.clear()
    client = await connect(options=OPTIONS)
    async with temporal_worker(client) as task_queue:
        async with HttpWorker([tasks]):
            assert tasks.EVENTS == ["notebook opened", "mailbox opened"]
            assert await result_of(client, flows.Put.run, task_queue, ["a", "b"]) == [1, 2]
        assert tasks.EVENTS[2:] == ["job", "job", "mailbox closed", "notebook closed"]
        async with HttpWorker([tasks]):  # another worker has a notebook of its own
            assert await result_of(client, flows.Put.run, task_queue, ["c"]) == [1]
    await bare_engine.nothing_left()


async def test_existing_activities_are_delegated_as_they_are(bare_engine: Environment) -> None:
    client = await connect(existing_activities(tasks), intercept=True, options=OPTIONS)
    async with HttpWorker(existing_activities(tasks)), temporal_worker(client) as task_queue:
        assert await result_of(client, flows.Unedited.run, task_queue) == [
            "old_async one",
            "old sync two 2",
            "from the object three",
        ]
    await bare_engine.nothing_left()


async def test_plain_functions_run_in_as_many_threads_as_there_are_slots(bare_engine: Environment) -> None:
    client = await connect(options=OPTIONS)
    count = tasks.MEETING.parties
    async with HttpWorker([tasks], concurrency=count), temporal_worker(client) as task_queue:
        assert await result_of(client, flows.Meets.run, task_queue, count) == list(range(count))
    await bare_engine.nothing_left()


async def test_options_of_the_wrong_type_are_told_to_the_call(bare_engine: Environment) -> None:
    client = await connect(options=OPTIONS)
    async with temporal_worker(client) as task_queue:
        told = await result_of(client, flows.Mistyped.run, task_queue)
    expected = [
        "noted: start_to_close_timeout must be a datetime.timedelta, not int: write timedelta(seconds=...)",
        "noted: heartbeat_timeout must be a datetime.timedelta, not list: write timedelta(seconds=...)",
        "noted: retry_policy must be a temporalio.common.RetryPolicy, not str",
        "noted: cancellation_type must be an ActivityCancellationType",
        "noted: `queue` and `result_type` are for a type given by name; a function declares its own",
    ]
    assert told == [line for line in expected for _ in range(3)]


async def test_a_job_that_no_worker_takes_in_time_is_timed_out(bare_engine: Environment) -> None:
    client = await connect(options=OPTIONS)
    async with temporal_worker(client) as task_queue:
        with pytest.raises(WorkflowFailureError) as failed:
            await result_of(client, flows.Waits.run, task_queue)
    cause = failed.value.cause.__cause__
    assert isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START
    await bare_engine.nothing_left()


@resource
async def closed_door() -> AsyncIterator[None]:
    raise OSError("the door is\nclosed")
    yield


@resource
async def stuck_door() -> AsyncIterator[str]:
    tasks.EVENTS.append("door opened")
    yield "door"
    raise ValueError("it is stuck")


async def test_a_resource_that_can_not_be_opened_ends_the_start(bare_engine: Environment) -> None:
    """Those opened before it are closed again."""
    tasks.EVENTS.clear()
    said = r"resource .*closed_door can't be opened: OSError: the door is closed \(.*test_front_door.py, line \d+\)$"
    with pytest.raises(ResourceError, match=said):
        async with HttpWorker([tasks, closed_door]):
            raise AssertionError("it has started")
    assert tasks.EVENTS[-1] == "notebook closed"


async def test_a_resource_that_can_not_be_closed_is_told(bare_engine: Environment) -> None:
    tasks.EVENTS.clear()
    with pytest.raises(ResourceError, match="stuck_door can't be closed: ValueError: it is stuck"):
        async with HttpWorker([tasks, stuck_door]):
            pass
    assert tasks.EVENTS[-1] == "notebook closed"


async def test_activities_of_a_temporal_worker_use_resources_too(bare_engine: Environment) -> None:
    tasks.EVENTS.clear()
    client = await connect(options=OPTIONS, resources=[tasks])
    async with temporal_worker(client, activities=[tasks.noted]) as task_queue:
        handle = await client.start_activity(
            tasks.noted,
            "in Temporal's worker",
            id=f"activity-{uuid.uuid4()}",
            task_queue=task_queue,
            start_to_close_timeout=flows.SOON,
        )
        assert await handle.result() == ["in Temporal's worker"]
    assert tasks.EVENTS[-1] == "notebook closed"


async def test_a_cancelled_run_stops_gracefully(bare_engine: Environment) -> None:
    tasks.EVENTS.clear()
    worker = HttpWorker([tasks])
    run = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while not worker.is_running:
            await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert tasks.EVENTS[-1] == "notebook closed"
    with pytest.raises(RuntimeError, match="runs once"):
        await worker.run()


async def test_a_worker_without_its_database_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    monkeypatch.setenv("DELEGATOR_START_TIMEOUT", "PT0S")
    with pytest.raises(DatabaseError):
        async with HttpWorker([tasks]):
            raise AssertionError("it has started")


async def test_a_worker_refuses_wrong_options_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, said in (
        ({"queue": "nosuch"}, "queue nosuch: not a declared queue"),
        ({"concurrency": 0}, "concurrency 0: must be from 1"),
        ({"grace": timedelta(seconds=-1)}, "grace: must not be negative"),
        ({"stall_limit": timedelta(0)}, "stall_limit: must be at least 1 second"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            HttpWorker([tasks], **options)
    with pytest.raises(ConfigurationError, match="no handler that was given is for the queue"):
        HttpWorker([tasks.notebook])
