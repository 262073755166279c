"""What the database refuses for some jobs delays no other jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from delegator.dev.temporal import TemporalServer
from delegator.postgres.connections import connect
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.integration.delegator.environment import Environment, environment, eventually
from tests.support import Databases

MODULE = "tests.integration.http_workers.apart_tasks"
ONCE = '{"retry": {"maximum_attempts": 1}}'
QUICK = '{"retry": {"initial_interval_ms": 100, "maximum_attempts": 2}}'


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, queues=("default", "other"), http_worker=False) as engine:
        yield engine


async def enqueue(engine: Environment, queue: str, job_type: str, *job_ids: str, options: str = ONCE) -> None:
    jobs = [NewJob(job_id, job_type, None, None, options, None, None, None, None, None) for job_id in job_ids]
    async with await connect(engine.settings.database_url.get_secret_value(), application_name="test") as db:
        await QueueTable(queue).insert(db, None, jobs)


async def renamed(engine: Environment, table: str, name: str) -> None:
    url = engine.settings.database_url.get_secret_value()
    async with await connect(url, application_name="test") as db:
        await db.execute(f"ALTER TABLE {table} RENAME TO {name}".encode())


async def test_dead_letters_delay_no_outcome(engine: Environment) -> None:
    """While dead letters can't be stored, other jobs end. The dead letters come when they can."""
    async with engine.http_worker("--concurrency", "4", modules=[MODULE]) as worker:
        await renamed(engine, "custom_task_dead_letter", "away")
        try:
            for number in range(8):  # more batches than a worker writes at a time
                await enqueue(engine, "default", "fails_at_once", f"dead-{number}")

                async def has_failed(number: int = number) -> bool:
                    return worker.log.read_text().count("attempt_failed") > number

                await eventually(has_failed)
            await enqueue(engine, "default", "ends", *(f"fine-{number}" for number in range(20)))

            async def are_done() -> bool:
                return not await engine.rows("job_id LIKE 'fine-%%'")

            await eventually(are_done)
        finally:
            await renamed(engine, "away", "custom_task_dead_letter")
        await engine.nothing_left()
    letters = await engine.query("SELECT job_id FROM custom_task_dead_letter WHERE job_id LIKE 'dead-%%'")
    assert len(letters) == 8


async def test_queue_delays_no_queue(engine: Environment) -> None:
    """While one queue's table is locked, another queue's retries come, and its dead worker's job is freed."""
    retried, lost = "retried", "lost"
    async with await connect(engine.settings.database_url.get_secret_value(), application_name="test") as db:
        async with engine.http_worker("--queue", "other", modules=[MODULE]) as dying:
            await enqueue(engine, "other", "waits", lost, options=QUICK)

            async def runs() -> bool:
                return bool(await engine.rows("job_id = %s AND lease_id IS NOT NULL", lost))

            await eventually(runs)
            dying.kill()
            await dying.process.wait()
        async with db.transaction():
            await db.execute(b"LOCK TABLE custom_task_queue IN ACCESS EXCLUSIVE MODE")
            await enqueue(engine, "other", "fails_once", retried, options=QUICK)
            async with engine.http_worker("--queue", "other", modules=[MODULE]):

                async def are_done() -> bool:
                    left = await engine.query(
                        "SELECT FROM custom_task_queue_other WHERE (job_id = %s) OR (job_id = %s AND attempt < 2)",
                        retried,
                        lost,
                    )
                    return not left

                await eventually(are_done)
    await engine.query("DELETE FROM custom_task_queue_other RETURNING job_id")
