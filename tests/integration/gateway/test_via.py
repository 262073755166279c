"""`http-worker --via`: a Python worker without the database does what one at the database does."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.worker import Worker

from delegator import PluginOptions
from delegator.contracts import collect_handlers
from delegator.dev.temporal import TemporalServer
from delegator.gateway.conformance.checks import CHECKS
from delegator.gateway.conformance.run import check_worker
from tests.integration.delegator import failing
from tests.integration.delegator.environment import BRIEF, TASKS, Environment, environment
from tests.integration.delegator.failing_flows import TellsFailure
from tests.integration.delegator.test_encryption import CONVERTER
from tests.integration.delegator.test_same_failures import CASES, ENCODED, Case, assert_same, tell_all
from tests.integration.gateway import gateway_flows
from tests.integration.gateway.gateway_flows import Many, Ordinary, Tells
from tests.integration.gateway.support import RunningGateway, free_port, gateway_process, running_gateway
from tests.support import Databases
from tests.support.links import link

FAILING = "tests.integration.delegator.failing"
OWN = "tests.integration.gateway.via_tasks"
TOKEN = "for-the-pool-12345"
OUTLIVES = {"DELEGATOR_LEASE": "PT60S"}
"""Of a worker whose jobs outlive a gateway."""
WORKFLOWS = [*gateway_flows.ALL, TellsFailure]
LEAST_SECONDS = 2.0


def is_patient(case: Case) -> bool:
    """Return whether a busy machine does not change how a case ends."""
    limits = [value for name, value in case.options.items() if name.endswith("_timeout")]
    return "cancel" not in case.options and all(limit >= LEAST_SECONDS for limit in limits)


PATIENT_CASES = [case for case in CASES if is_patient(case)]


@asynccontextmanager
async def via(engine: Environment, url: str, *arguments: str, **variables: str) -> AsyncIterator[None]:
    """Run a worker behind a gateway. It can't reach the database or the stream."""
    nowhere = {
        "DELEGATOR_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "DELEGATOR_STREAM_URL": "http://127.0.0.1:1",
    }
    async with engine.http_worker("--via", url, *arguments, modules=[TASKS, FAILING, OWN], **nowhere, **variables):
        yield


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


@pytest.fixture(scope="module", params=["inline", "signal"])
async def all_queue(gateway_engine: Environment, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The task queue of a worker that gets outcomes inline, or by signal."""
    options: tuple[PluginOptions, ...] = () if request.param == "inline" else (BRIEF,)
    async with gateway_engine.worker(*options, workflows=WORKFLOWS) as name:
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


async def test_killed_gateway(engine: Environment, all_queue: str) -> None:
    """A gateway is killed amid jobs and started again: all results arrive, and no job that was running runs twice."""
    port = str(free_port())
    async with gateway_process(engine, "--port", port) as gateway, via(engine, gateway.url, **OUTLIVES):
        handle = await engine.start(Many.run, "works", 20, task_queue=all_queue)
        await engine.noted(handle.id, "started", 20)
        gateway.process.kill()
        await gateway.process.wait()
        async with gateway_process(engine, "--port", port):
            assert await engine.result(handle) == [1] * 20
    assert sorted(engine.ledger(handle.id)) == [("done", 1)] * 20 + [("started", 1)] * 20


async def test_short_cut(engine: Environment, gateway: RunningGateway, all_queue: str) -> None:
    """The network is cut for less than a lease: handlers run on, and each job runs once."""
    async with link(gateway.url) as network, via(engine, network.url, **OUTLIVES):
        handle = await engine.start(Many.run, "works", 20, task_queue=all_queue)
        await engine.noted(handle.id, "started", 20)
        network.cut()
        await engine.noted(handle.id, "done", 20)
        network.mend()
        assert await engine.result(handle) == [1] * 20
    assert len(engine.ledger(handle.id)) == 40


async def test_long_cut(engine: Environment, gateway: RunningGateway, all_queue: str) -> None:
    """The network is cut for longer than a lease: the worker stops its handlers, and each job's next attempt counts."""
    async with link(gateway.url) as network, via(engine, network.url):
        handle = await engine.start(Tells.run, "works_once_told", [], {}, task_queue=all_queue)
        await engine.noted(handle.id, "started")
        network.cut()
        await engine.noted(handle.id, "stopped")
        network.mend()
        assert await engine.result(handle) == 2
    assert engine.ledger(handle.id) == [("started", 1), ("stopped", 1), ("started", 2)]


async def test_conformance(engine: Environment, gateway: RunningGateway) -> None:
    """It passes the suite for workers in any language."""
    start = (
        "import os, sys; os.environ['DELEGATOR_GATEWAY_TOKEN'] = os.environ['GATEWAY_TOKEN'] or 'none';"
        f"os.execv(sys.executable, [sys.executable, '-m', 'http_workers', '--import', {OWN!r}, '--grace', '3',"
        " '--queue', os.environ['GATEWAY_QUEUE'], '--via', os.environ['GATEWAY_URL']])"
    )
    found = await check_worker(gateway.url, [sys.executable, "-c", start], engine.settings, "default")
    assert found == dict.fromkeys(CHECKS)


async def test_token(engine: Environment, all_queue: str, tmp_path: Path) -> None:
    """A worker whose token the gateway refuses does not start; with the right one in a file it does."""
    known, mine = tmp_path / "tokens", tmp_path / "token"
    known.write_text(f"{TOKEN} queues=default\n")
    mine.write_text(f"{TOKEN}\n")
    async with running_gateway(engine, token_file=known) as gateway:
        with pytest.raises(AssertionError, match="refuses the token: set DELEGATOR_GATEWAY_TOKEN or"):
            async with via(engine, gateway.url, DELEGATOR_GATEWAY_TOKEN="another-12345"):
                pass
        async with via(engine, gateway.url, DELEGATOR_GATEWAY_TOKEN_FILE=str(mine)):
            assert await engine.execute(Tells.run, "double", [2], {}, task_queue=all_queue) == 4
