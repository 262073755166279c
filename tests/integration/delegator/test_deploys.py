"""Pools that lack a type or a key, as after a bad deployment, and pools with different types on one queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.delegator import flows
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import OTHER_TASKS, SIGNALLED, TASKS, Environment, eventually

pytestmark = pytest.mark.postgres_only
CODEC = "tests.integration.delegator.encryption:converter"
WRONG_KEY = "tests.integration.delegator.encryption:other_key"
GRACE = "DELEGATOR_REFUSAL_GRACE"


@pytest.fixture
async def engine(start_engine: StartEngine) -> AsyncIterator[Environment]:
    """An engine of its own without a worker: a pool that comes or goes is seen by no other test."""
    async with start_engine(http_worker=False) as engine:
        yield engine
        await engine.nothing_left()


@pytest.fixture
async def task_queue(engine: Environment) -> AsyncIterator[str]:
    async with engine.worker(SIGNALLED) as task_queue:
        yield task_queue


async def refused(engine: Environment, workflow_id: str) -> dict[str, Any]:
    """Wait until a worker has refused the workflow's job; its row."""

    async def is_refused() -> list[dict[str, Any]]:
        return await engine.rows("workflow_id = %s AND options -> 'refused' IS NOT NULL", workflow_id)

    (row,) = await eventually(is_refused)
    return row


async def test_type_is_deployed_later(engine: Environment, task_queue: str):
    """A job waits for a pool that has its type, though its policy allows one attempt; then it runs as the first."""
    async with engine.http_worker(modules=[OTHER_TASKS]) as lacking:
        handle = await engine.start(
            flows.CallsOne.run, "delegate", "noted", [4], {"attempts": 1}, task_queue=task_queue
        )
        row = await refused(engine, handle.id)
        assert (row["attempt"], row["options"]["refused"]["reason"]) == (0, "unknown_type")
        await eventually(lambda: said(lacking.log.read_text(), "jobs_refused"))
    (line,) = [line for line in lacking.log.read_text().splitlines() if "jobs_refused" in line]
    assert all(part in line for part in ("error", "job_type=noted", "reason=unknown_type", "served_elsewhere=False"))
    assert await engine.dead_letters(handle.id) == []
    async with engine.http_worker():
        assert await engine.result(handle) == 4
    assert engine.ledger(handle.id) == [("started", 1)]


async def said(log: str, event: str) -> bool:
    return event in log


async def test_pools_share_a_queue(engine: Environment, task_queue: str):
    """Each job runs once, as its first attempt, in a pool that has its type."""
    async with engine.http_worker() as most, engine.http_worker(modules=[OTHER_TASKS]) as other:
        handle = await engine.start(flows.BothPools.run, 20, task_queue=task_queue)
        assert await engine.result(handle)
    assert engine.ledger(handle.id) == [("started", 1)] * 40
    assert await engine.dead_letters(handle.id) == []
    for worker in (most, other):
        lines = [line for line in worker.log.read_text().splitlines() if "jobs_refused" in line]
        assert all("info" in line and "served_elsewhere=True" in line for line in lines)


async def test_grace_ends(engine: Environment, task_queue: str):
    """A job whose type no pool has becomes a dead letter after the grace, and its workflow is told why."""
    async with engine.http_worker(modules=[OTHER_TASKS], **{GRACE: "1s"}):
        handle = await engine.start(flows.CallsOne.run, "delegate", "noted", [4], {}, task_queue=task_queue)
        failure = await engine.result(handle)
    assert (failure["type"], failure["retry_state"], failure["non_retryable"]) == ("NotFoundError", "TIMEOUT", False)
    assert "noted" in failure["cause_message"] and "elsewhere" in failure["cause_message"]
    (letter,) = await engine.dead_letters(handle.id)
    assert (letter.reason, letter.error) == ("unknown_type", "NotFoundError")


async def test_deadline_of_an_unknown_type(engine: Environment, task_queue: str):
    """A refusal is no start: the schedule-to-start timeout holds, and its cause says what was refused."""
    async with engine.http_worker(modules=[OTHER_TASKS]):
        options = {"schedule_to_start_timeout": 1.0, "schedule_to_close_timeout": 600.0}
        handle = await engine.start(flows.CallsOne.run, "delegate", "noted", [4], options, task_queue=task_queue)
        failure = await engine.result(handle)
    assert (failure["cause"], failure["type"]) == ("TimeoutError", "SCHEDULE_TO_START")


async def test_wrong_key(start_engine: StartEngine):
    """A worker with the wrong key fails the attempt; one with the right key runs the next."""
    async with start_engine(data_converter=CODEC, http_worker=False) as engine, engine.worker(SIGNALLED) as task_queue:
        async with engine.http_worker(DELEGATOR_DATA_CONVERTER=WRONG_KEY) as wrong:
            handle = await engine.start(flows.CallsOne.run, "delegate", "noted", [4], {}, task_queue=task_queue)
            row = await refused(engine, handle.id)
            assert row["attempt"] >= 1 and row["options"]["refused"]["reason"] == "undecodable"
            once = await engine.start(
                flows.CallsOne.run, "delegate", "noted", [4], {"attempts": 1}, task_queue=task_queue
            )
            await eventually(lambda: engine.dead_letters(once.id))
        assert "jobs_refused" in wrong.log.read_text()
        async with engine.http_worker(modules=[TASKS]):
            assert await engine.result(handle) == 4
        (letter,) = await engine.dead_letters(once.id)
        assert (letter.reason, letter.attempt) == ("undecodable", 1)
        await once.terminate()


async def test_undeclared_queue(engine: Environment, caplog: pytest.LogCaptureFixture):
    """A worker says at its start that a type of its workflows' modules has a queue that is not declared."""
    async with engine.worker(SIGNALLED, workflows=[flows.Elsewhere]):
        pass
    (said,) = [record.getMessage() for record in caplog.records if "queue_undeclared" in record.getMessage()]
    assert "type in_other_queue, queue other" in said and "DELEGATOR_QUEUES" in said
