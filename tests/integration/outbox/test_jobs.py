"""Plain jobs of an application's transaction: they run if and when it commits; a client may wait for the result."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from temporalio.exceptions import ActivityError, ApplicationError

from delegator import ConfigurationError
from delegator.dev.temporal import TemporalServer
from delegator.outbox import JobResults, Outbox, plain_job
from http_workers import HttpWorker
from tests.integration.delegator.environment import Environment, environment
from tests.integration.outbox.handlers import RAN, double, refuse
from tests.integration.outbox.support import eventually
from tests.support import Databases


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer, temporal_address: str) -> AsyncIterator[Environment]:
    async with (
        environment(databases, temporal, http_worker=False) as made,
        HttpWorker([double, refuse], settings=made.settings, grace=timedelta(seconds=5)),
    ):
        yield made


@pytest.fixture(scope="module")
def jobs(engine: Environment) -> Outbox:
    return Outbox(engine.settings)


@pytest.fixture
async def db(engine: Environment) -> AsyncIterator[psycopg.AsyncConnection]:
    url = engine.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@pytest.fixture(scope="module")
async def results(engine: Environment) -> AsyncIterator[JobResults]:
    async with JobResults(engine.settings) as made:
        yield made


def new_id() -> str:
    return f"job-{uuid.uuid4()}"


async def ran(job_id: str) -> bool:
    return job_id in RAN


async def gone(db: psycopg.AsyncConnection, job_id: str) -> bool:
    found = await (await db.execute("SELECT FROM custom_task_queue WHERE job_id = %s", (job_id,))).fetchone()
    await db.commit()
    return found is None


async def test_enqueue(jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """A job runs when its transaction commits, and never if that rolls back."""
    kept, undone = new_id(), new_id()
    assert await jobs.aio.enqueue(db, double, 1, job_id=undone)
    await db.rollback()
    assert await jobs.aio.enqueue(db, double, 2, job_id=kept, keep_result=True)
    assert not await jobs.aio.enqueue(db, double, 3, job_id=kept)
    with pytest.raises(LookupError, match="has not committed"):
        await results.wait(double, kept)
    await db.commit()
    answer = await results.wait(double, kept)
    assert answer == {"twice": 4}
    assert await results.wait("double", kept, result_type=dict[str, int]) == {"twice": 4}
    assert undone not in RAN


async def test_many(jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """Many jobs are one statement. A job without an id gets one. An id that stands there twice is enqueued once."""
    ids = [new_id() for _ in range(50)]
    asked = [plain_job(double, number, job_id=job_id, keep_result=True) for number, job_id in enumerate(ids)]
    new = await jobs.aio.enqueue_many(db, [*asked, plain_job(double, 0), asked[0]])
    assert new == [True] * 51 + [False]
    await db.commit()
    found = await asyncio.gather(*(results.wait(double, job_id) for job_id in ids))
    assert found == [{"twice": 2 * number} for number in range(50)]


async def test_failure(jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """Who waits for a job that fails for good gets its failure, and the job is a dead letter."""
    job_id = new_id()
    await jobs.aio.enqueue(db, refuse, "no", job_id=job_id, keep_result=True)
    await db.commit()
    with pytest.raises(ActivityError) as failed:
        await results.wait(refuse, job_id)
    assert isinstance(failed.value.cause, ApplicationError)
    assert (failed.value.cause.message, failed.value.cause.type) == ("no", "Refusal")
    found = await db.execute("SELECT reason, operation FROM custom_task_dead_letter WHERE job_id = %s", (job_id,))
    assert await found.fetchall() == [("non_retryable", None)]


@pytest.mark.parametrize("by", ["delay", "due_at"])
async def test_delay(by: str, jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """A job with a delay, or with a due time, begins no earlier."""
    job_id, delay = new_id(), timedelta(milliseconds=300)
    began = time.monotonic()
    # A due time comes from this machine's clock, and the database's clock decides: here they are the same.
    options = {"delay": delay} if by == "delay" else {"due_at": datetime.now(UTC) + delay}
    await jobs.aio.enqueue(db, double, 1, job_id=job_id, keep_result=True, **options)
    await db.commit()
    await results.wait(double, job_id)
    assert time.monotonic() - began >= 0.29


async def test_past_due(jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """A due time that has passed means at once."""
    job_id = new_id()
    await jobs.aio.enqueue(db, double, 1, job_id=job_id, keep_result=True, due_at=datetime(2020, 1, 1, tzinfo=UTC))
    await db.commit()
    assert await results.wait(double, job_id) == {"twice": 2}


async def test_unique_for(jobs: Outbox, db: psycopg.AsyncConnection) -> None:
    """An id stays taken after its job has ended, for as long as the first call said."""
    job_id, free = new_id(), new_id()
    assert await jobs.aio.enqueue(db, double, 1, job_id=job_id, unique_for=timedelta(hours=1))
    assert await jobs.aio.enqueue(db, double, 1, job_id=free, unique_for=timedelta(milliseconds=1))
    await db.commit()
    for one in (job_id, free):
        await eventually(lambda one=one: ran(one))
        await eventually(lambda one=one: gone(db, one))
    assert not await jobs.aio.enqueue(db, double, 1, job_id=job_id, unique_for=timedelta(hours=1))
    assert await jobs.aio.enqueue(db, double, 1, job_id=free, unique_for=timedelta(hours=1))
    await db.commit()
    assert RAN.count(job_id) == 1
    await eventually(lambda: gone(db, free))
    assert RAN.count(free) == 2


async def test_expired_ids(jobs: Outbox, db: psycopg.AsyncConnection) -> None:
    """The maintenance process forgets ids that are free again."""
    job_id = new_id()
    await jobs.aio.enqueue(db, double, 1, job_id=job_id, unique_for=timedelta(milliseconds=1))
    await db.commit()

    async def is_forgotten() -> bool:
        found = await db.execute("SELECT FROM custom_task_unique WHERE unique_id = %s", (f"default/{job_id}",))
        await db.commit()
        return found.rowcount == 0

    await eventually(is_forgotten)


async def test_deadline(jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """The timeouts of a plain job hold: one that no worker takes in time is a dead letter, and its client is told."""
    job_id = new_id()
    await jobs.aio.enqueue(
        db, "nobody_has_this", job_id=job_id, keep_result=True, schedule_to_close_timeout=timedelta(milliseconds=100)
    )
    await db.commit()
    with pytest.raises(ActivityError):
        await results.wait("nobody_has_this", job_id)


async def test_not_kept(jobs: Outbox, db: psycopg.AsyncConnection, results: JobResults) -> None:
    """Who waits for a job without a kept result is told how to enqueue it."""
    job_id = new_id()
    await jobs.aio.enqueue(db, double, 1, job_id=job_id, delay=timedelta(hours=1))
    await db.commit()
    with pytest.raises(ConfigurationError, match="keep_result=True"):
        await results.wait(double, job_id)
    await db.execute("DELETE FROM custom_task_queue WHERE job_id = %s", (job_id,))


async def test_bad_options(jobs: Outbox, db: psycopg.AsyncConnection) -> None:
    """Wrong options are refused by name, before anything is written."""
    with pytest.raises(ConfigurationError, match="delay or due_at"):
        await jobs.aio.enqueue(db, double, 1, delay=timedelta(1), due_at=datetime.now(UTC))
    with pytest.raises(ConfigurationError, match="time zone"):
        await jobs.aio.enqueue(db, double, 1, due_at=datetime(2030, 1, 1))
    with pytest.raises(ConfigurationError, match="unique_for needs a job_id"):
        await jobs.aio.enqueue(db, double, 1, unique_for=timedelta(1))
    with pytest.raises(ConfigurationError, match="is not a delegated activity type"):
        await jobs.aio.enqueue(db, new_id)
    with pytest.raises(ValueError, match="job id"):
        await jobs.aio.enqueue(db, double, 1, job_id="a\nb")
