"""Processes that are asked to stop finish or release the jobs that they hold."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter

from delegator.dev.temporal import TemporalServer
from delegator.postgres.connections import connect
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.integration.delegator.environment import ROOT, Environment, HttpWorker, environment, eventually
from tests.support import Database, Databases

ONE = Payloads(payloads=DataConverter.default.payload_converter.to_payloads([1])).SerializeToString()
LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


@pytest.fixture(scope="module")
async def idle_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def enqueue(engine: Environment, *job_ids: str, job_type: str = "noted", input: bytes | None = ONE) -> None:
    """Enqueue plain jobs, which are held back with the name of the workflow that they do not have."""
    jobs = [NewJob(job_id, job_type, input, None, None, None, None, None, None, None) for job_id in job_ids]
    async with await connect(engine.settings.database_url.get_secret_value(), application_name="test") as db:
        await QueueTable("default").insert(db, None, jobs)


def started(engine: Environment) -> list[tuple[str, int]]:
    return [(line["job"], line["attempt"]) for line in engine.ledger_lines()]


async def is_running(engine: Environment, job_id: str, times: int = 1) -> None:
    async def look() -> bool:
        return [job for job, _ in started(engine)].count(job_id) >= times

    await eventually(look)


async def stopping(worker: HttpWorker) -> None:
    async def look() -> bool:
        return "worker_stopping" in worker.log.read_text()

    worker.process.send_signal(signal.SIGTERM)
    await eventually(look)


async def rows(engine: Environment) -> dict[str, dict[str, Any]]:
    return {row["job_id"]: row for row in await engine.rows()}


async def test_graceful_stop(idle_engine: Environment) -> None:
    """A worker that is asked to stop finishes its running job and claims no other."""
    async with idle_engine.http_worker("--concurrency", "2") as worker:
        with idle_engine.held("None"):
            await enqueue(idle_engine, "runs")
            await is_running(idle_engine, "runs")
            await stopping(worker)
            await enqueue(idle_engine, "comes late")
            await asyncio.sleep(0.5)
        async with asyncio.timeout(60):
            assert await worker.process.wait() == 0
    left = await rows(idle_engine)
    assert left.keys() == {"comes late"} and left["comes late"]["lease_id"] is None
    async with idle_engine.http_worker():
        await is_running(idle_engine, "comes late")
        await idle_engine.nothing_left()


async def test_stop_after_grace(idle_engine: Environment) -> None:
    """A job that runs longer than the grace period is released, and another worker runs the same attempt."""
    with idle_engine.held("None"):
        async with idle_engine.http_worker("--grace", "0.1") as worker:
            await enqueue(idle_engine, "outlasts")
            await is_running(idle_engine, "outlasts")
            await stopping(worker)
            async with asyncio.timeout(60):
                assert await worker.process.wait() == 0
        row = (await rows(idle_engine))["outlasts"]
        assert (row["lease_id"], row["attempt"], row["retry_at"]) == (None, 0, None)
        assert row["published_at"] > row["enqueued_at"]
    async with idle_engine.http_worker():
        await idle_engine.nothing_left()
    assert [attempt for job, attempt in started(idle_engine) if job == "outlasts"] == [1, 1]


async def test_second_signal(idle_engine: Environment) -> None:
    """A second signal ends the worker at once; the sweeper publishes its job again."""
    async with idle_engine.http_worker("--grace", "600") as worker:
        with idle_engine.held("None"):
            await enqueue(idle_engine, "interrupted")
            await is_running(idle_engine, "interrupted")
            await stopping(worker)
            worker.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await worker.process.wait() == 128 + signal.SIGTERM
    async with idle_engine.http_worker():
        await is_running(idle_engine, "interrupted", times=2)
        await idle_engine.nothing_left()


async def test_heartbeat_is_stored(idle_engine: Environment) -> None:
    """Heartbeat details are stored while the handler runs, and survive a killed worker."""
    async with idle_engine.http_worker() as worker:
        await enqueue(idle_engine, "heartbeats", job_type="silent_once", input=None)

        async def kept() -> bool:
            row = (await rows(idle_engine)).get("heartbeats")
            return row is not None and row["heartbeat_details"] is not None

        await eventually(kept)
        worker.kill()
    async with idle_engine.http_worker():
        await is_running(idle_engine, "heartbeats", times=2)
        await idle_engine.nothing_left()


async def test_claims_match_slots(idle_engine: Environment) -> None:
    """A worker claims no more jobs than it has slots."""
    async with idle_engine.http_worker("--concurrency", "2"):
        with idle_engine.held("None"):
            await enqueue(idle_engine, *(f"slot {number}" for number in range(6)))

            async def two_run() -> bool:
                return sum(job.startswith("slot") for job, _ in started(idle_engine)) == 2

            await eventually(two_run)
            await asyncio.sleep(0.5)
            assert sum(row["lease_id"] is not None for row in (await rows(idle_engine)).values()) == 2
            assert await two_run()
        await idle_engine.nothing_left()


async def test_limited_type_frees_slots(idle_engine: Environment) -> None:
    """A backlog of a type with a limit leaves slots free for jobs of other types."""
    async with idle_engine.http_worker("--concurrency", "4"):
        with idle_engine.held("None"):
            await enqueue(idle_engine, *(f"limited {number}" for number in range(6)), job_type="one_at_a_time")
            await enqueue(idle_engine, *(f"other {number}" for number in range(6)), job_type="in_thread")
            for number in range(6):
                await is_running(idle_engine, f"other {number}")
        await idle_engine.nothing_left()
    limited = [(job, attempt) for job, attempt in started(idle_engine) if job.startswith("limited")]
    assert sorted(limited) == [(f"limited {number}", 1) for number in range(6)]


async def test_serve_releases_lock(database: Database, temporal: TemporalServer) -> None:
    """`delegator serve` releases the elector's lock when it stops."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "delegator", "serve"),
        cwd=ROOT,
        env={**os.environ, "DELEGATOR_DATABASE_URL": database.url, "TEMPORAL_ADDRESS": temporal.address},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"leader_elected" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            errors = (await process.communicate())[1]
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0 and b"maintenance_stopped" in errors and b"Traceback" not in errors, errors

    async def unlocked() -> bool:
        async with await psycopg.AsyncConnection.connect(database.url) as db:
            return await (await db.execute(LOCKS)).fetchone() == (0,)

    await eventually(unlocked)
