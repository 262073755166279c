"""The result TTL: how long a process keeps the rows that it has read inline."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from temporalio.converter import DataConverter
from temporalio.testing import ActivityEnvironment

from delegator.enqueue.activities import DelegatorActivities, EnqueueParts
from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.inline import InlineWaiter
from delegator.enqueue.policy import InlinePolicy
from delegator.postgres.connections import Connection, Pool, connect, connection_pool
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.wire.frames import to_raw_value
from delegator.wire.requests import EnqueueRequest, JobRequest, JobSpec, pack_enqueue
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import TABLE
from tests.support import Database

RESULT_TTL = 1.0


async def test_stopped_process(database: Database) -> None:
    """A row survives a pause of its process: the workflow task may be run again and must find the outcome."""
    async with read_row(database) as (db, _, waiter):
        waiter.delete_later(TABLE, ["a"])
        await asyncio.sleep(0)
        time.sleep(RESULT_TTL * 2)  # noqa: ASYNC251  # as SIGSTOP would
        await asyncio.sleep(RESULT_TTL / 8)
        assert await steps.read(db, ["a"]) == {"a": "completed"}
        await vanished(db)


async def test_repeated_tasks_extend_ttl(database: Database) -> None:
    """The result TTL grows while workflow tasks are run again, because an overloaded worker repeats others, too."""
    async with (
        read_row(database) as (db, parts, waiter),
        Enqueuer(parts.pool, [TABLE], "default") as enqueuer,
    ):
        waiter.delete_later(TABLE, ["a"])
        activities = DelegatorActivities()
        policy = InlinePolicy(0.1, 100)
        activities.start(EnqueueParts(parts.pool, enqueuer, waiter, policy, parts.lease, DataConverter.default))
        job = JobRequest(JobSpec("t", TABLE.queue, None), b"", b"", "a")
        enqueue = to_raw_value(pack_enqueue(EnqueueRequest([job], [1], 1_000)))
        environment = ActivityEnvironment()
        run_id = str(uuid.uuid4())
        await db.execute("UPDATE custom_task_queue SET run_id = %s WHERE job_id = 'a'", [run_id])
        environment.info = replace(environment.info, workflow_run_id=run_id)
        await environment.run(activities.enqueue, enqueue)

        await asyncio.sleep(RESULT_TTL * 4)
        assert await steps.read(db, ["a"]) == {"a": "completed"}
        await vanished(db)


class Parts(NamedTuple):
    pool: Pool
    lease: LeaseKeeper


@asynccontextmanager
async def read_row(database: Database) -> AsyncIterator[tuple[Connection, Parts, InlineWaiter]]:
    """A waiter that has read the outcome of row `a`."""
    async with (
        await connect(database.url, application_name="test") as db,
        connection_pool(database.url, application_name="test", size=2) as pool,
        LeaseKeeper(database.url, "enqueuer", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, database.url, lease, result_ttl_seconds=RESULT_TTL) as waiter,
    ):
        await steps.insert(db, ["a"], lease.lease_id)
        worker = await steps.grant(db, "worker")
        ((claimed,), _) = await TABLE.claim(db, [("a", 0)], worker)
        await steps.store_outcomes(db, {"a": claimed.fencing_token})
        assert [found.job_id for found in await waiter.wait(TABLE, ["a"], 5.0, ["a"])] == ["a"]
        yield db, Parts(pool, lease), waiter


async def vanished(db: Connection) -> None:
    async with asyncio.timeout(60):
        while await steps.read(db, ["a"]):
            await asyncio.sleep(0.02)
