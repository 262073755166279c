"""Pools that lack a type or a key, as after a bad deployment, and pools with different types on one queue."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from delegator.dev.temporal import NAMESPACE, TemporalServer
from http_workers import HttpWorker
from tests.integration.delegator import flows, other_tasks, tasks
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import SIGNALLED, Environment, eventually

pytestmark = pytest.mark.postgres_only
CODEC = "tests.integration.delegator.encryption:converter"
WRONG_KEY = "tests.integration.delegator.encryption:other_key"

Pool = Callable[..., HttpWorker]


@pytest.fixture(scope="module")
async def idle(start_engine: StartEngine) -> AsyncIterator[Environment]:
    async with start_engine(http_worker=False) as engine:
        yield engine


@pytest.fixture
async def engine(idle: Environment) -> AsyncIterator[Environment]:
    """An engine whose workers come and go with each test."""
    yield idle
    await idle.nothing_left()


@pytest.fixture(scope="module")
async def task_queue(idle: Environment) -> AsyncIterator[str]:
    async with idle.worker(SIGNALLED) as task_queue:
        yield task_queue


@pytest.fixture
def pool(temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Makes workers of an engine in this process."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", NAMESPACE)

    def made(engine: Environment, module: Any, **settings: Any) -> HttpWorker:
        monkeypatch.setenv(tasks.DIRECTORY_VARIABLE, str(engine.directory))
        return HttpWorker([module], settings=engine.settings.model_copy(update=settings), grace=timedelta(seconds=5))

    yield made


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str, str, Any]]]:
    """What the log says of refused jobs: level, type, reason, and whether another pool has the type."""
    caplog.set_level(logging.INFO)

    def lines() -> list[tuple[str, str, str, Any]]:
        return [
            (record.levelname, fields["job_type"], fields["reason"], fields.get("served_elsewhere"))
            for record in caplog.records
            for fields in [vars(record)]
            if record.getMessage() == "jobs_refused"
        ]

    return lines


async def refused(engine: Environment, workflow_id: str) -> dict[str, Any]:
    """Wait until a worker has refused the workflow's job; its row."""

    async def is_refused() -> list[dict[str, Any]]:
        return await engine.rows("workflow_id = %s AND options -> 'refused' IS NOT NULL", workflow_id)

    (row,) = await eventually(is_refused)
    return row


async def test_type_is_deployed_later(engine: Environment, task_queue: str, pool: Pool, said: Any):
    """A job waits for a pool that has its type, though its policy allows one attempt; then it runs as the first."""
    async with pool(engine, other_tasks):
        handle = await engine.start(
            flows.CallsOne.run, "delegate", "noted", [4], {"attempts": 1}, task_queue=task_queue
        )
        row = await refused(engine, handle.id)
        assert (row["attempt"], row["options"]["refused"]["reason"]) == (0, "unknown_type")
    assert said() == [("ERROR", "noted", "unknown_type", False)]
    assert await engine.dead_letters(handle.id) == []
    # A worker that starts with the type does not wait for the delay.
    await engine.query(
        "UPDATE custom_task_queue SET retry_at = now() + interval '1 hour' WHERE retry_at IS NOT NULL RETURNING job_id"
    )
    async with pool(engine, tasks):
        assert await engine.result(handle) == 4
    assert engine.ledger(handle.id) == [("started", 1)]


async def test_pools_share_a_queue(engine: Environment, task_queue: str, pool: Pool, said: Any):
    """Each job runs once, as its first attempt, in a pool that has its type; and that is no error."""
    async with pool(engine, tasks), pool(engine, other_tasks):
        handle = await engine.start(flows.BothPools.run, 20, task_queue=task_queue)
        assert await engine.result(handle)
    assert engine.ledger(handle.id) == [("started", 1)] * 40
    assert await engine.dead_letters(handle.id) == []
    expected = {("INFO", name, "unknown_type", True) for name in ("noted", "elsewhere")}
    assert said() and set(said()) <= expected


async def test_grace_ends(engine: Environment, task_queue: str, pool: Pool):
    """A job whose type no pool has becomes a dead letter after the grace, and its workflow is told why."""
    async with pool(engine, other_tasks, refusal_grace=timedelta(seconds=1)):
        handle = await engine.start(flows.CallsOne.run, "delegate", "noted", [4], {}, task_queue=task_queue)
        failure = await engine.result(handle)
    assert (failure["type"], failure["retry_state"], failure["non_retryable"]) == ("NotFoundError", "TIMEOUT", False)
    assert "noted" in failure["cause_message"] and "elsewhere" in failure["cause_message"]
    (letter,) = await engine.dead_letters(handle.id)
    assert (letter.reason, letter.error) == ("unknown_type", "NotFoundError")


async def test_deadline_of_an_unknown_type(engine: Environment, task_queue: str, pool: Pool):
    """A refusal is no start: the schedule-to-start timeout holds."""
    async with pool(engine, other_tasks):
        options = {"schedule_to_start_timeout": 1.0, "schedule_to_close_timeout": 600.0}
        handle = await engine.start(flows.CallsOne.run, "delegate", "noted", [4], options, task_queue=task_queue)
        failure = await engine.result(handle)
    assert (failure["cause"], failure["type"]) == ("TimeoutError", "SCHEDULE_TO_START")


async def test_cancelled_while_refused(engine: Environment, task_queue: str, pool: Pool):
    """A job that no pool can run is cancelled like any other that waits."""
    async with pool(engine, other_tasks):
        handle = await engine.start(
            flows.Cancellable.run, "delegate", "noted", [4], "WAIT_CANCELLATION_COMPLETED", task_queue=task_queue
        )
        await refused(engine, handle.id)
        await handle.signal(flows.Cancellable.cancel)
        assert await engine.result(handle) == "activity cancelled"


async def test_wrong_key(start_engine: StartEngine, pool: Pool, said: Any):
    """A worker with the wrong key gives the job back; one with the right key runs its only attempt."""
    async with start_engine(data_converter=CODEC, http_worker=False) as engine, engine.worker(SIGNALLED) as task_queue:
        async with pool(engine, tasks, data_converter=WRONG_KEY):
            handle = await engine.start(
                flows.CallsOne.run, "delegate", "noted", [4], {"attempts": 1}, task_queue=task_queue
            )
            row = await refused(engine, handle.id)
            assert (row["attempt"], row["options"]["refused"]["reason"]) == (0, "locked")
        assert said() == [("ERROR", "noted", "locked", None)]
        await engine.query(
            "UPDATE custom_task_queue SET retry_at = now() + interval '1 hour' WHERE retry_at IS NOT NULL "
            "RETURNING job_id"
        )
        async with pool(engine, tasks):
            assert await engine.result(handle) == 4
        assert engine.ledger(handle.id) == [("started", 1)]
        assert await engine.dead_letters(handle.id) == []


async def test_undeclared_queue(engine: Environment, caplog: pytest.LogCaptureFixture):
    """A worker says at its start that a type of its workflows' modules has a queue that is not declared."""
    async with engine.worker(SIGNALLED, workflows=[flows.Elsewhere]):
        pass
    (said,) = [record.getMessage() for record in caplog.records if "queue_undeclared" in record.getMessage()]
    assert "type in_other_queue, queue other" in said and "DELEGATOR_QUEUES" in said
