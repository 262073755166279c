"""The republication statement, alone."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import sql

from delegator.postgres.queue_republish import UNCLAIMED, republish_statement
from tests.support import Database

from .client import STREAM, enqueue, execute


async def rows(database: Database) -> dict[str, int]:
    return dict(await execute(database, f"SELECT job_id, fencing_token FROM {STREAM}"))


async def test_everything_but_emission_and_fence_is_kept(database: Database) -> None:
    await enqueue(database, 1, 3)
    await execute(database, f"UPDATE {STREAM} SET attempt = 2, deadline = now() + '1 h', options = '{{\"a\": 1}}'")
    columns = "to_jsonb(q) - 'published_at' - 'fencing_token'"
    before = await execute(database, f"SELECT {columns}, published_at FROM {STREAM} q ORDER BY job_id")
    fences = await rows(database)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        cursor = await connection.execute(republish_statement(STREAM), {"limit": 10})
        assert cursor.rowcount == 3
    after = await execute(database, f"SELECT {columns}, published_at FROM {STREAM} q ORDER BY job_id")
    assert [row for row, _ in after] == [row for row, _ in before]
    assert all(new > old for (_, new), (_, old) in zip(after, before, strict=True))
    grown = await rows(database)
    assert grown.keys() == {"j1", "j2", "j3"}
    assert all(grown[job] > fence for job, fence in fences.items())


async def test_the_limit_takes_the_oldest_and_changes_are_applied(database: Database) -> None:
    await enqueue(database, 1, 1)
    await enqueue(database, 2, 2)
    await execute(database, f"UPDATE {STREAM} SET retry_at = now()")
    statement = republish_statement(STREAM, sql.SQL("retry_at <= now()"), {"retry_at": sql.SQL("NULL")})
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        assert (await connection.execute(statement, {"limit": 1})).rowcount == 1
    assert await execute(database, f"SELECT job_id, retry_at IS NULL FROM {STREAM} ORDER BY 1") == [
        ("j1", True), ("j2", False),
    ]  # fmt: skip


async def test_two_at_once_and_an_enqueue_of_the_same_jobs_leave_each_row_once(database: Database) -> None:
    await enqueue(database, 1, 3000)
    fences = await rows(database)
    condition = sql.SQL("{} AND published_at < %(before)s").format(UNCLAIMED)
    ((before,),) = await execute(database, "SELECT clock_timestamp()")

    async def republish() -> int:
        total = 0
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
            while count := (
                await connection.execute(republish_statement(STREAM, condition), {"limit": 100, "before": before})
            ).rowcount:
                total += count
        return total

    async def insert_again() -> int:
        for _ in range(5):
            await execute(
                database,
                f"INSERT INTO {STREAM} (job_id, job_type) SELECT 'j' || g, 't' FROM generate_series(1, 3000) g "
                "ON CONFLICT DO NOTHING",
            )
        return 0

    assert sum(await asyncio.gather(republish(), republish(), insert_again())) == 3000
    grown = await rows(database)
    assert grown.keys() == fences.keys()
    assert all(grown[job] > fence for job, fence in fences.items())
