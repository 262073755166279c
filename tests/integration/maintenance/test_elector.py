"""One process leads at a time, and another one soon after the leader is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from delegator.maintenance.elector import Elector
from delegator.postgres import leader_lock
from delegator.postgres.connections import Connection, connect
from tests.support import Database
from tests.support.watches import database_watch

PIDS = """
SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND pg_stat_activity.datname = current_database()
"""


class Candidate:
    """Wants to lead, and notes whether it does."""

    def __init__(self, database: Database) -> None:
        self.leads = False
        self.reports: list[bool] = []
        self.task = asyncio.create_task(self.elector(database).run(self.lead))

    def elector(self, database: Database) -> Elector:
        return Elector(database.url, self.reports.append, database_watch(database.settings))

    async def lead(self, connection: Connection) -> None:
        self.leads = True
        try:
            while True:
                await connection.execute("SELECT 1")
                await asyncio.sleep(0.05)
        finally:
            self.leads = False

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.02)


async def test_next_leader(database: Database) -> None:
    """Another process becomes the leader when the leader loses its connection."""
    candidates = [Candidate(database) for _ in range(3)]
    observer = await connect(database.url, application_name="observer")

    async def leaders() -> list[Candidate]:
        leading = [candidate for candidate in candidates if candidate.leads]
        assert len(leading) <= 1, "two lead at once"
        return leading

    async def somebody_leads() -> bool:
        return bool(await leaders())

    try:
        await eventually(somebody_leads)
        (first,) = await leaders()
        assert first.reports[-1] is True
        await asyncio.sleep(1.2)  # the others ask every second
        assert await leaders() == [first]

        await first.stop()
        assert first.reports[-1] is False
        await eventually(somebody_leads)
        (second,) = await leaders()
        assert second is not first

        ((pid,),) = await (await observer.execute(PIDS)).fetchall()
        await observer.execute("SELECT pg_terminate_backend(%s)", (pid,))

        async def lost_and_led_again() -> bool:
            return False in second.reports[1:] and bool(await leaders())

        await eventually(lost_and_led_again)
    finally:
        for candidate in candidates:
            await candidate.stop()
        await observer.close()


async def test_stranger_holds_the_lock(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A session that is no maintenance process and holds the lock is named, with the statement that ends it."""
    stranger = await connect(database.url, application_name="somebody else")
    assert await leader_lock.try_lock(stranger)
    pid = stranger.info.backend_pid
    candidate = Candidate(database)

    async def is_named() -> bool:
        named = [record for record in caplog.records if record.getMessage() == "loop_blocked"]
        return any(f"SELECT pg_terminate_backend({pid})" in vars(record)["reason"] for record in named)

    async def leads() -> bool:
        return candidate.leads

    try:
        await eventually(is_named)
        await stranger.close()
        await eventually(leads)
    finally:
        await candidate.stop()
        await stranger.close()
