from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from delegator.dev import RunningStack
from delegator.testing import JobEnvironment
from examples.database import Connection, connection, create_tables, database, database_url, schema_of
from examples.heartbeat import tasks
from examples.heartbeat.tasks import work, work_in_thread


async def effects(job: str) -> list[tuple[int, int]]:
    """Return steps and attempts, in the order of the effects."""
    async with connection() as opened:
        rows = await opened.execute("SELECT step, attempt FROM heartbeat.effects WHERE job = %s ORDER BY ctid", (job,))
        return [(step, attempt) for step, attempt in await rows.fetchall()]


BROKEN_OFF = [*((step, 1) for step in (1, 2, 3)), *((step, 2) for step in range(4, 11))]


async def test_command(run_command, servers: RunningStack) -> None:
    """Three jobs that are broken off at step 4 each do the ten steps once, in two attempts."""
    ended = await run_command("heartbeat")
    assert (ended.code, ended.errors) == (0, "")
    jobs = [line.partition(":")[0] for line in ended.output.splitlines() if "resumed at step 4" in line]
    assert sorted(job.partition("-")[0] for job in jobs) == ["coroutine", "process", "thread"]
    for job in jobs:
        done = await effects(job)
        assert [effect for effect in done if effect != (0, 0)] == BROKEN_OFF
        assert done.count((0, 0)) == (1 if job.startswith("thread") else 0), "a frozen thread is told once"


@pytest.fixture
async def pool(servers: RunningStack) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    await create_tables(schema_of(tasks))
    async with AsyncConnectionPool[Connection](database_url(), min_size=1, open=False) as pool:
        yield pool


@pytest.mark.parametrize("function", [work, work_in_thread])
async def test_unknown_details(
    pool: AsyncConnectionPool[Connection], function: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Details that another version has reported: the job begins from the beginning, and says so in the log."""
    job = f"unit-{uuid.uuid4()}"
    environment = JobEnvironment(attempt=2, heartbeat_details=[{"page": 3}], provide={database: pool})
    with caplog.at_level(logging.WARNING):
        assert await environment.run(function, job, 0) == 1
    assert [step for step, _ in await effects(job)] == list(range(1, 11))
    (record,) = [record for record in caplog.records if record.message == "heartbeat_details_unknown"]
    assert record.__dict__["details_type"] == "dict"
    assert environment.heartbeats == [(step,) for step in range(1, 11)]
