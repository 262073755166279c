"""PostgreSQL 15 has no failover slots: what the relay does when a promoted standby has none."""

from __future__ import annotations

import pytest

from delegator.config import Settings
from delegator.dev.migrations import migrate_database
from tests.support import Database
from tests.support.postgres15 import Server15

from .client import enqueue, execute, relay


@pytest.mark.atlas
async def test_gap_is_republished(postgres15: Server15) -> None:
    """Jobs that were inserted while there was no slot come all the same, and so do those that nobody has acked."""
    url = postgres15.database()
    await migrate_database(url, ("default",))
    database = Database(url, "postgres15", Settings.load(database_url=url, slot="slot_of_postgres15"))
    async with relay(database) as (_, puller):
        expected = {*await enqueue(database, 1, 10)}
        await puller.has(10)
    await execute(database, "SELECT pg_drop_replication_slot('slot_of_postgres15')")
    expected |= {*await enqueue(database, 11, 20)}
    async with relay(database) as (_, puller):
        expected |= {*await enqueue(database, 21, 25)}
        assert {*await puller.drain()} == expected
    slots = "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
    assert await execute(database, slots) == [("slot_of_postgres15",)]
    await execute(database, "SELECT pg_drop_replication_slot('slot_of_postgres15')")
