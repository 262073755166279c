"""Outcomes whose notification comes before anybody waits for them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from delegator.enqueue import inline
from delegator.enqueue.inline import InlineWaiter
from delegator.postgres.connections import connect, connection_pool
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.queue_table import AttemptOutcome, NewJob, QueueTable
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import TABLE
from tests.support import Database, Databases


async def test_outcome_before_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter finds an outcome whose notification came before it began to wait, without polling."""
    monkeypatch.setattr(inline, "_POLL_LISTENING_SECONDS", 1_000.0)
    async with (
        await connect(database.url, application_name="test") as db,
        connection_pool(database.url, application_name="test", size=2) as pool,
        LeaseKeeper(database.url, "enqueuer", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, database.url, lease, result_ttl_seconds=1) as waiter,
    ):
        await steps.insert(db, ["heard", "early"], lease.lease_id)
        worker = await steps.grant(db, "worker")
        (claimed, _) = await TABLE.claim(db, [("early", 0), ("heard", 0)], worker)
        tokens = {claim.job_id: claim.fencing_token for claim in claimed}
        while not waiter.listening:
            await asyncio.sleep(0.02)
        hears = asyncio.create_task(waiter.wait(TABLE, ["heard"], 60))
        await steps.store_outcomes(db, {"early": tokens["early"]})
        await steps.store_outcomes(db, {"heard": tokens["heard"]})
        await hears

        async with asyncio.timeout(60):
            assert [found.job_id for found in await waiter.wait(TABLE, ["early"], 600)] == ["early"]


async def test_left_to_signals(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter leaves a row whose outcome is signalled: before it waits, while it waits, and if the row is gone."""
    monkeypatch.setattr(inline, "_POLL_LISTENING_SECONDS", 1_000.0)
    async with (
        await connect(database.url, application_name="test") as db,
        connection_pool(database.url, application_name="test", size=2) as pool,
        LeaseKeeper(database.url, "enqueuer", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, database.url, lease, result_ttl_seconds=1) as waiter,
    ):
        jobs = ["early", "heard", "gone", "lost", "stays"]
        await steps.insert(db, jobs, lease.lease_id)
        worker = await steps.grant(db, "worker")
        (claimed, _) = await TABLE.claim(db, [(job, 0) for job in jobs], worker)
        held = {claim.job_id: (claim.job_id, claim.fencing_token) for claim in claimed}
        while not waiter.listening:
            await asyncio.sleep(0.02)
        await TABLE.leave_to_signal(db, [held["early"]])
        await TABLE.leave_to_signal(db, [("lost", held["lost"][1] - 1)])
        async with db.transaction():
            await TABLE.leave_to_signal(db, [held["gone"]])
            await TABLE.delete_held(db, [held["gone"]])
        waits = asyncio.create_task(waiter.wait(TABLE, jobs, 600))
        while not waiter.waiting:
            await asyncio.sleep(0.02)
        await TABLE.leave_to_signal(db, [held["heard"], held["early"]])
        await steps.store_outcomes(db, {job: held[job][1] for job in ("lost", "stays")})
        async with asyncio.timeout(60):
            assert sorted(found.job_id for found in await waits) == ["lost", "stays"]
        assert await TABLE.unwaited(db, [held[job] for job in jobs if job != "gone"]) == {"early", "heard"}


async def test_queues_apart(databases: Databases) -> None:
    """While one queue's table is locked, outcomes of another queue are read."""
    other = QueueTable("other")
    async with (
        databases.fresh(("default", "other")) as database,
        await connect(database.url, application_name="test") as db,
        await connect(database.url, application_name="test") as locker,
        connection_pool(database.url, application_name="test", size=4) as pool,
        LeaseKeeper(database.url, "enqueuer", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, database.url, lease, result_ttl_seconds=1) as waiter,
    ):
        await steps.insert(db, ["locked"], lease.lease_id)
        await other.insert(
            db, None, [NewJob("free", "t", None, None, None, "w", steps.RUN, None, None, lease.lease_id)]
        )
        worker = await steps.grant(db, "worker")
        async with locker.transaction():
            await locker.execute(b"LOCK TABLE custom_task_queue IN ACCESS EXCLUSIVE MODE")
            waits = asyncio.create_task(waiter.wait(TABLE, ["locked"], 60, ["locked"]))
            ((claimed,), _) = await other.claim(db, [("free", 0)], worker)
            await other.store_outcomes(db, [AttemptOutcome("free", claimed.fencing_token, "completed", b"")])
            async with asyncio.timeout(60):
                assert [found.job_id for found in await waiter.wait(other, ["free"], 600, ["free"])] == ["free"]
            assert not waits.done()
        waits.cancel()
        await asyncio.wait([waits])
