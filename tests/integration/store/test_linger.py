"""Rows that were read inline, and the process that is to delete them."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from delegator.enqueue.inline import InlineWaiter
from delegator.lease import LeaseKeeper
from delegator.store.database import connect, connection_pool
from tests.integration.store import database as steps
from tests.integration.store.database import TABLE
from tests.support import Database

LINGER = 0.4


async def test_a_row_lingers_for_a_process_that_was_stopped(database: Database) -> None:
    """Its workflow task may have timed out meanwhile: whoever runs it again must find the outcome."""
    async with (
        await connect(database.url, application_name="test") as db,
        connection_pool(database.url, application_name="test", size=2) as pool,
        LeaseKeeper(database.url, "delegator", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, database.url, lease, linger=LINGER) as waiter,
    ):
        await steps.insert(db, ["a"], lease.lease_id)
        worker = await steps.grant(db, "worker")
        ((claimed,), _) = await TABLE.claim(db, [("a", 0)], worker)
        await steps.settle(db, {"a": claimed.lease_token})
        assert [found.job_id for found in await waiter.wait(TABLE, ["a"], 5.0, ["a"])] == ["a"]

        waiter.keep_a_while(TABLE, ["a"])
        await asyncio.sleep(0)
        time.sleep(LINGER * 2)  # noqa: ASYNC251  # as SIGSTOP would
        await asyncio.sleep(LINGER / 8)
        assert await steps.read(db, ["a"]) == {"a": "completed"}

        async with asyncio.timeout(10):
            while await steps.read(db, ["a"]):
                await asyncio.sleep(0.02)
