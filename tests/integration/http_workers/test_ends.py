"""No handler ends its worker, and none keeps it from ending."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from delegator.dev.temporal import TemporalServer
from delegator.postgres.connections import connect
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.integration.delegator.environment import Environment, environment, eventually
from tests.support import Databases

MODULE = "tests.integration.http_workers.ending_tasks"
ONCE = '{"retry": {"maximum_attempts": 1}}'
ERRORS = {
    "exits_in_a_task": "SystemExit",
    "interrupts_in_a_task": "KeyboardInterrupt",
    "exits_in_a_callback": "ValueError",
    "stops_the_loop": "ValueError",
    "exits_in_a_thread": "SystemExit",
    "has_no_more": "RuntimeError",
    "as_activity_has_no_more": "RuntimeError",
}


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def enqueue(engine: Environment, *job_types: str) -> None:
    jobs = [NewJob(name, name, None, None, ONCE, None, None, None, None, None) for name in job_types]
    async with await connect(engine.settings.database_url.get_secret_value(), application_name="test") as db:
        await QueueTable("default").insert(db, None, jobs)


async def test_exits_are_failures(engine: Environment) -> None:
    """A handler that exits, in whatever way, fails its job. The worker goes on, and has all of its slots."""
    async with engine.http_worker("--concurrency", "1", modules=[MODULE]) as worker:
        await enqueue(engine, *ERRORS)
        await engine.nothing_left()
        letters = await engine.query("SELECT job_id, error FROM custom_task_dead_letter")
        assert {letter["job_id"]: letter["error"] for letter in letters} == ERRORS
        await enqueue(engine, "fine")
        await engine.nothing_left()
        assert worker.process.returncode is None


async def test_stop_waits_for_no_thread(engine: Environment) -> None:
    """A worker that is asked to stop ends, though a thread and a task do not. Others get their jobs."""
    async with engine.http_worker("--grace", "0.1", modules=[MODULE]) as worker:
        await enqueue(engine, "never_ends", "refuses_to_end")

        async def both_run() -> bool:
            return worker.log.read_text().count("begun") == 2

        await eventually(both_run)
        worker.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            assert await worker.process.wait() == 0
    assert len(await engine.rows("lease_id IS NULL AND attempt = 0 AND retry_at IS NULL")) == 2
    assert "process_ended_by_force" in worker.log.read_text()
