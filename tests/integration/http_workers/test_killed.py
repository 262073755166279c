"""A handler that kills its worker uses up its attempts, as any other failure does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from delegator.dev.temporal import TemporalServer
from delegator.postgres.connections import connect
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.integration.delegator import flows
from tests.integration.delegator.environment import Environment, HttpWorker, environment, eventually
from tests.support import Databases

THREE_TIMES = '{"retry": {"maximum_attempts": 3}}'
_DIED_TWICE = b"""
UPDATE custom_task_queue SET attempt = 2, options = options || '{"attempts": [
    {"attempt": 1, "failed_ms": 0, "error": "WorkerLost", "delay_ms": 0},
    {"attempt": 2, "failed_ms": 0, "error": "WorkerLost", "delay_ms": 0}]}'
WHERE job_id = 'suspect'
"""


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def ended(worker: HttpWorker) -> None:
    await worker.process.wait()


async def test_attempts_end(engine: Environment) -> None:
    """After its last attempt the workflow gets a timeout, and the job is a dead letter. Its neighbour runs again."""
    async with engine.worker() as task_queue:
        handle = await engine.start(flows.Fails.run, "delegate", "kills_its_worker", [], 2, [], task_queue=task_queue)
        with engine.held("innocent"):
            async with engine.http_worker() as worker:
                innocent = await engine.start(flows.Sequence_.run, "delegate", 1, task_queue=task_queue, id="innocent")
                await ended(worker)
            async with engine.http_worker() as worker:
                await ended(worker)
        async with engine.http_worker() as worker:
            failure = await engine.result(handle)
            assert await engine.result(innocent) == [0]
            assert worker.process.returncode is None
        assert (failure["cause"], failure["type"]) == ("TimeoutError", "HEARTBEAT")
        assert failure["retry_state"] == "MAXIMUM_ATTEMPTS_REACHED"
        assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]
        (letter,) = await engine.dead_letters(handle.id)
        assert (letter.reason, letter.attempt) == ("attempts_exhausted", 2)

        async def nothing_is_left() -> bool:
            return not await engine.unfinished()

        await eventually(nothing_is_left)


async def test_task_attempts_end(engine: Environment) -> None:
    """The attempt of an activity task whose worker dies fails, so that Temporal counts it."""
    async with engine.activity_worker() as task_queue:
        handle = await engine.start(flows.Fails.run, "activity", "kills_its_worker", [], 1, [], task_queue=task_queue)
        async with engine.http_worker() as worker:
            await ended(worker)
        failure = await engine.result(handle)
    assert (failure["type"], failure["retry_state"]) == ("TimeoutError", "MAXIMUM_ATTEMPTS_REACHED")
    assert engine.ledger(handle.id) == [("started", 1)]


async def test_suspect_dies_alone(engine: Environment) -> None:
    """A job whose workers have died twice takes no other job with it. Those that came with it run once."""
    others = [f"other-{number}" for number in range(20)]
    jobs = [
        NewJob(name, job_type, None, None, THREE_TIMES, None, None, None, None, None)
        for name, job_type in (("suspect", "kills_its_worker"), *((name, "as_it_is") for name in others))
    ]
    async with engine.http_worker("--concurrency", "10") as worker:
        url = engine.settings.database_url.get_secret_value()
        async with await connect(url, application_name="test") as db, db.transaction():
            await QueueTable("default").insert(db, None, jobs)
            await db.execute(_DIED_TWICE)
        await ended(worker)
    async with engine.http_worker():
        await engine.nothing_left()
    lines = [(line["job"], line["attempt"]) for line in engine.ledger_lines() if line["workflow"] is None]
    assert sorted(lines) == sorted([("suspect", 3), *((name, 1) for name in others)])
    (letter,) = await engine.query("SELECT job_id, attempt FROM custom_task_dead_letter WHERE workflow_id IS NULL")
    assert letter == {"job_id": "suspect", "attempt": 3}
