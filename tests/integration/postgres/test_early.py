"""Outcomes whose notification comes before anybody waits for them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from delegator.enqueue import inline
from delegator.enqueue.inline import InlineWaiter
from delegator.postgres.connections import connect, connection_pool
from delegator.postgres.lease_keeper import LeaseKeeper
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import TABLE
from tests.support import Database


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
