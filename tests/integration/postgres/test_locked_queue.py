"""While one queue's table is locked, the processes that serve two queues do the work of the other one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from delegator.completion.mailbox import Delivery
from delegator.config import Settings
from delegator.enqueue import cancelling
from delegator.enqueue import enqueuer as enqueuer_module
from delegator.enqueue.activities import DelegatorActivities, EnqueueParts
from delegator.enqueue.enqueuer import ENQUEUE_PATIENCE, Enqueuer, enqueue_pool
from delegator.enqueue.inline import InlineWaiter
from delegator.enqueue.policy import InlinePolicy
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.signaller import Signaller
from delegator.postgres.connections import SILENCE, Connection, Pool, connect
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.postgres.queue_table import AttemptOutcome, NewJob, QueueTable
from delegator.wire.frames import from_payload, to_raw_value
from delegator.wire.outcomes import unpack_reply, unpack_signal
from delegator.wire.requests import EnqueueRequest, JobRequest, JobSpec, pack_cancel, pack_enqueue
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import TABLE
from tests.integration.postgres.test_late_signals import Sender
from tests.support import Database, Databases
from tests.support.watches import database_watch

OTHER = QueueTable("other")
CONNECTIONS = 4


class Parts(NamedTuple):
    """A Temporal worker's parts."""

    pool: Pool
    lease: LeaseKeeper
    waiter: InlineWaiter
    enqueuer: Enqueuer
    activities: DelegatorActivities
    locker: Connection
    db: Connection


@pytest.fixture(scope="module")
async def shared(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(("default", "other")) as database:
        yield database


@pytest.fixture
def lock_limit_seconds() -> float:
    """Longer than any test: the connections of the locked queue stay in use."""
    return 3_600.0


@pytest.fixture
async def parts(shared: Database, lock_limit_seconds: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    monkeypatch.setattr(enqueuer_module, "_LOCK_LIMIT", timedelta(seconds=lock_limit_seconds))
    async with (
        await connect(shared.url, application_name="test") as locker,
        await connect(shared.url, application_name="test") as db,
        enqueue_pool(shared.url, size=CONNECTIONS, queues=2, silence=SILENCE) as pool,
        LeaseKeeper(shared.url, "enqueuer", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, shared.url, lease, result_ttl_seconds=60) as waiter,
        Enqueuer(pool, [TABLE, OTHER], "default", patience=ENQUEUE_PATIENCE) as enqueuer,
    ):
        await db.execute(b"TRUNCATE custom_task_queue, custom_task_queue_other")
        activities = DelegatorActivities()
        policy = InlinePolicy(60.0, 100)
        activities.start(EnqueueParts(pool, enqueuer, waiter, policy, lease, DataConverter.default))
        yield Parts(pool, lease, waiter, enqueuer, activities, locker, db)


@asynccontextmanager
async def locked(parts: Parts) -> AsyncIterator[None]:
    async with parts.locker.transaction():
        await parts.locker.execute(b"LOCK TABLE custom_task_queue IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def given_up(calls: Sequence[asyncio.Future[Any]]) -> AsyncIterator[None]:
    """Cancel these calls at the end of the block."""
    try:
        yield
    finally:
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


def job(job_id: str, waiter_id: int | None = None) -> NewJob:
    return NewJob(job_id, "t", None, None, None, "w", steps.RUN, None, None, waiter_id)


async def blocked(db: Connection) -> int:
    ((count,),) = await (await db.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")).fetchall()
    return int(count)


def called(activity: Any, frame: bytes) -> asyncio.Future[Any]:
    """Run one of the activities as a workflow task does."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, workflow_run_id=str(uuid.uuid4()), workflow_id="wf")
    return asyncio.ensure_future(environment.run(activity, to_raw_value(frame)))


def requests(*queues: str) -> bytes:
    jobs = [JobRequest(JobSpec("t", queue, None), b"", b"", None) for queue in queues]
    return pack_enqueue(EnqueueRequest(jobs, list(range(len(jobs))), 1_000))


async def one_row(db: Connection) -> str:
    """The id of the other queue's job, when it is there."""
    async with asyncio.timeout(60):
        while not (rows := await (await db.execute("SELECT job_id FROM custom_task_queue_other")).fetchall()):
            await asyncio.sleep(0.02)
    ((job_id,),) = rows
    return str(job_id)


async def end(db: Connection, job_id: str) -> None:
    """A worker of the other queue claims the job and stores its outcome."""
    worker = await steps.grant(db, "worker")
    ((claimed,), _) = await OTHER.claim(db, [(job_id, 0)], worker)
    await OTHER.store_outcomes(db, [AttemptOutcome(job_id, claimed.fencing_token, "completed", b"")])


async def test_other_queue(parts: Parts) -> None:
    """A job of the other queue is enqueued and ends inline, while waits for jobs of the locked queue end."""
    ids = [f"w{number}" for number in range(2 * CONNECTIONS)]
    await TABLE.insert(parts.db, None, [job(job_id, parts.lease.lease_id) for job_id in ids])
    async with locked(parts):
        waits = [asyncio.create_task(parts.waiter.wait(TABLE, [job_id], 0.1)) for job_id in ids]
        async with given_up(waits), asyncio.timeout(60):
            while await blocked(parts.db) < CONNECTIONS:
                await asyncio.sleep(0.02)
            reply = called(parts.activities.enqueue, requests("other"))
            await end(parts.db, await one_row(parts.db))
            assert unpack_reply(from_payload((await reply).payload)).outcomes[0] is not None


@pytest.mark.parametrize("lock_limit_seconds", [0.2])
async def test_closes_task(parts: Parts) -> None:
    """The workflow task of the locked queue is closed. Its next attempt enqueues, after the lock."""
    frame = requests("default")
    async with locked(parts):
        with pytest.raises(ApplicationError, match="queue 'default' is locked") as raised:
            await called(parts.activities.enqueue, frame)
        assert raised.value.type == "DatabaseUnavailable"
    await parts.enqueuer.enqueue("default", [job("after")])


async def test_one_workflow(parts: Parts) -> None:
    """One workflow calls both queues, then cancels: its job in the other queue comes and goes during the lock."""
    async with locked(parts), given_up([called(parts.activities.enqueue, requests("default", "other"))]):
        job_id = await one_row(parts.db)
        frame = pack_cancel([("default", "x"), ("other", job_id)])
        async with given_up([called(parts.activities.cancel, frame)]), asyncio.timeout(60):
            while await (await parts.db.execute("SELECT FROM custom_task_queue_other")).fetchall():
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("lock_limit_seconds", [0.2])
async def test_reply_of_a_cancellation(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome of a removed job is in the reply alone. So the locked queue is left out of it."""
    monkeypatch.setattr(cancelling, "_PATIENCE_SECONDS", 0.0)
    await OTHER.insert(parts.db, None, [job("waits")])
    async with locked(parts):
        frame = pack_cancel([("default", "x"), ("other", "waits")])
        reply = await called(parts.activities.cancel, frame)
        assert [job_id for job_id, _ in unpack_signal(from_payload(reply.payload))] == ["waits"]
        with pytest.raises(ApplicationError):
            await called(parts.activities.cancel, pack_cancel([("default", "x")]))


async def test_adopted_outcome(parts: Parts) -> None:
    """A locked queue of the same workflow keeps an outcome from being read. Each attempt to read it keeps its row."""
    await OTHER.insert(parts.db, None, [job("done", parts.lease.lease_id)])
    await end(parts.db, "done")
    old = b"UPDATE custom_task_queue_other SET completed_at = now() - interval '1 hour'"
    maintenance = MaintenanceStatements("other")
    for take in (OTHER.adopt, OTHER.take_over):
        await parts.db.execute(old)
        assert await take(parts.db, ["done"], parts.lease.lease_id)
        assert await maintenance.delete_unread(parts.db, timedelta(minutes=5)) == 0


async def test_signaller(parts: Parts) -> None:
    """The maintenance signals outcomes of the other queue."""
    await OTHER.insert(parts.db, "default", [job("stored")])
    await parts.db.execute(
        "UPDATE custom_task_queue_other SET outcome = 'completed', completed_at = now() - interval '1 minute'"
    )
    sender, metrics = Sender(Delivery.DELIVERED), MaintenanceMetrics(CollectorRegistry())
    watch = database_watch(Settings.load(database_url=SecretStr(parts.pool.conninfo)))
    async with locked(parts):
        signallers = [
            Signaller(queue, pool=parts.pool, database=watch, signals=sender, metrics=metrics)
            for queue in ("default", "other")
        ]
        async with given_up([asyncio.create_task(signaller.run()) for signaller in signallers]):
            async with asyncio.timeout(60):
                while await (await parts.db.execute("SELECT FROM custom_task_queue_other")).fetchall():
                    await asyncio.sleep(0.02)
    assert sender.sent == ["stored"]
