"""The pool of connections after an outage."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from delegator.postgres import connections
from delegator.postgres.connections import connect, connection_pool
from tests.support import Database

SIZE = 3


async def test_broken_connections(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that broke while they were idle fail no caller."""
    monkeypatch.setattr(connections, "_TRUSTED_SECONDS", 0)
    async with connection_pool(database.url, application_name="pooled", size=SIZE) as pool:
        async with AsyncExitStack() as stack:
            for _ in range(SIZE):
                await stack.enter_async_context(pool.connection())
        async with await connect(database.url, application_name="observer") as observer:
            ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'pooled'"
            assert len(await (await observer.execute(ended)).fetchall()) == SIZE
        async with AsyncExitStack() as stack:
            for _ in range(SIZE):
                connection = await stack.enter_async_context(pool.connection())
                await connection.execute("SELECT 1")


async def test_cancelled_at_the_moment_of_a_connection(database: Database) -> None:
    """A caller that is cancelled as the pool hands it a connection ends, and the connection is back in the pool."""
    async with connection_pool(database.url, application_name="pooled", size=1) as pool:
        for turns in range(15):
            held = await pool.getconn()
            caller = asyncio.create_task(pool.getconn())
            while not pool.get_stats()["requests_waiting"]:
                await asyncio.sleep(0)
            await pool.putconn(held)
            for _ in range(turns):
                await asyncio.sleep(0)
            if caller.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await caller
            else:
                await pool.putconn(caller.result())
