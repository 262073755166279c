"""`http-worker --via`: a Python worker without the database does what one at the database does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.worker import Worker

from delegator.contracts import collect_handlers
from delegator.dev.temporal import TemporalServer
from tests.integration.delegator import failing
from tests.integration.delegator.environment import Environment, environment
from tests.integration.delegator.failing_flows import TellsFailure
from tests.integration.delegator.test_encryption import CONVERTER
from tests.integration.delegator.test_same_failures import CASES, ENCODED, Case, assert_same, tell_all
from tests.integration.gateway import gateway_flows
from tests.integration.gateway.gateway_flows import Ordinary, Tells
from tests.integration.gateway.support import RunningGateway, running_gateway, via
from tests.support import Databases

WORKFLOWS = [*gateway_flows.ALL, TellsFailure]
LEAST_SECONDS = 2.0


def is_patient(case: Case) -> bool:
    """Return whether a busy machine does not change how a case ends."""
    limits = [value for name, value in case.options.items() if name.endswith("_timeout")]
    return "cancel" not in case.options and all(limit >= LEAST_SECONDS for limit in limits)


PATIENT_CASES = [case for case in CASES if is_patient(case)]


async def told_by_activities(engine: Environment, cases: list[Case]) -> dict[str, Any]:
    """Return what workflows see when the handlers are ordinary activities."""
    functions = [handler.function for handler in collect_handlers([failing]).values()]
    task_queue = f"ordinary-{uuid.uuid4()}"
    async with Worker(engine.client, task_queue=task_queue, workflows=[TellsFailure], activities=functions):
        return await tell_all(engine, cases, "execute_activity", task_queue)


@pytest.fixture(scope="module")
async def worker(gateway_engine: Environment, gateway: RunningGateway) -> AsyncIterator[None]:
    async with via(gateway_engine, gateway.url):
        yield


@pytest.fixture(scope="module")
async def all_queue(gateway_engine: Environment) -> AsyncIterator[str]:
    """The task queue of a worker with the workflows of this folder and the one that tells failures."""
    async with gateway_engine.worker(workflows=WORKFLOWS) as name:
        yield name


async def test_same_failures(engine: Environment, worker: None, all_queue: str) -> None:
    """Failures arrive field by field as those of ordinary activities: types, details, causes, stack traces."""
    told = await tell_all(engine, PATIENT_CASES, "delegate", all_queue)
    assert_same(told, await told_by_activities(engine, PATIENT_CASES))


async def test_surroundings(engine: Environment, worker: None, all_queue: str) -> None:
    """A handler sees the same around it as in a worker at the database, details of its last heartbeat included."""
    options = {"heartbeat_timeout": 50.0, "start_to_close_timeout": 60.0, "schedule_to_close_timeout": 70.0}
    seen = await engine.execute(Tells.run, "behind_a_gateway", [], {**options, "attempts": 4}, task_queue=all_queue)
    async with engine.http_worker(modules=["tests.integration.gateway.direct_tasks"]):
        direct = await engine.execute(
            Tells.run, "at_the_database", [], {**options, "attempts": 4}, task_queue=all_queue
        )
    assert seen == direct
    assert seen["details"] == [{"page": 1}, "so far"]
    assert seen["limits"] == ["0:00:50", "0:01:00", "0:01:10"]


async def test_limits(engine: Environment, worker: None, all_queue: str) -> None:
    """The worker itself finds limits exceeded; the workflow gets the details of the last heartbeat."""
    for options, limit in (
        ({"heartbeat_timeout": 1.0}, "HEARTBEAT"),
        ({"start_to_close_timeout": 1.0}, "START_TO_CLOSE"),
    ):
        told = await engine.execute(
            Tells.run, "overruns_after_heartbeat", [], {**options, "attempts": 1}, task_queue=all_queue
        )
        assert told == ["timed out", limit, ["page", 12]]


@pytest.mark.parametrize("name", ["heartbeats_until_cancelled", "in_thread_until_cancelled"])
async def test_cancellation(engine: Environment, worker: None, all_queue: str, name: str) -> None:
    """A cancellation reaches a coroutine and a thread, and the workflow hears that the job was cancelled."""
    handle = await engine.start(Tells.run, name, [], {"inline_wait": 0}, task_queue=all_queue)
    await engine.noted(handle.id, "started")
    await handle.cancel()
    assert await engine.result(handle) == ["CancelledError", "cancelled", []]
    await engine.noted(handle.id, "cancelled")


async def test_activity_task(engine: Environment, worker: None) -> None:
    """A job of Temporal's activity task gets its result and its cancellation, as from a worker at the database."""
    async with engine.activity_worker(workflows=WORKFLOWS) as task_queue:
        assert await engine.execute(Ordinary.run, "double", [4], task_queue=task_queue) == 8
        handle = await engine.start(Ordinary.run, "heartbeats_until_cancelled", [], task_queue=task_queue)
        await engine.noted(handle.id, "started")
        await handle.cancel()
        assert await engine.result(handle) == "CancelledError"


async def test_asynchronous(engine: Environment, worker: None, all_queue: str) -> None:
    """A handler that leaves its completion to a client fails, and the failure says why."""
    told = await engine.execute(Tells.run, "leaves_it", [], {}, task_queue=all_queue)
    assert told[0] == "AsynchronousCompletionError"
    assert "--via" in told[1]


async def test_encrypted(databases: Databases, temporal: TemporalServer) -> None:
    """With a codec and encoded attributes, the worker has the keys; nothing readable is stored."""
    cases = [case for case in PATIENT_CASES if case.name in ENCODED]
    async with (
        environment(databases, temporal, data_converter=CONVERTER, http_worker=False) as engine,
        running_gateway(engine) as gateway,
        via(engine, gateway.url),
        engine.worker(workflows=WORKFLOWS) as task_queue,
    ):
        assert_same(await tell_all(engine, cases, "delegate", task_queue), await told_by_activities(engine, cases))
        secret = "only-for-the-worker"
        handle = await engine.start(Tells.run, "secret_retry", [secret], {}, task_queue=task_queue)
        assert await engine.result(handle) == f"{secret} and {[secret]}"
        assert secret not in repr(await engine.stored())
