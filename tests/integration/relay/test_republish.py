"""The statement that publishes rows again."""

from __future__ import annotations

import asyncio

import psycopg

from delegator.postgres.queue_republish import published_before_statement, republish_template
from delegator.postgres.queue_table import QueueTable
from tests.support import Database

from .client import STREAM, enqueue, execute

TABLE = QueueTable("default")


async def rows(database: Database) -> dict[str, int]:
    return dict(await execute(database, f"SELECT job_id, fencing_token FROM {STREAM}"))


async def test_other_columns_are_kept(database: Database) -> None:
    await enqueue(database, 1, 3)
    await execute(database, f"UPDATE {STREAM} SET attempt = 2, deadline = now() + '1 h', options = '{{\"a\": 1}}'")
    columns = "to_jsonb(q) - 'published_at' - 'fencing_token'"
    before = await execute(database, f"SELECT {columns}, published_at FROM {STREAM} q ORDER BY job_id")
    tokens = await rows(database)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        cursor = await connection.execute(TABLE.statement(republish_template()), {"limit": 10})
        assert cursor.rowcount == 3
    after = await execute(database, f"SELECT {columns}, published_at FROM {STREAM} q ORDER BY job_id")
    assert [row for row, _ in after] == [row for row, _ in before]
    assert all(new > old for (_, new), (_, old) in zip(after, before, strict=True))
    grown = await rows(database)
    assert grown.keys() == {"j1", "j2", "j3"}
    assert all(grown[job] > token for job, token in tokens.items())


async def test_limit_and_changes(database: Database) -> None:
    """The limit takes the jobs that were published longest ago, and the changes are applied."""
    await enqueue(database, 1, 1)
    await enqueue(database, 2, 2)
    await execute(database, f"UPDATE {STREAM} SET retry_at = now()")
    statement = TABLE.statement(republish_template("q.retry_at <= now()", {"retry_at": "NULL"}))
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        assert (await connection.execute(statement, {"limit": 1})).rowcount == 1
    assert await execute(database, f"SELECT job_id, retry_at IS NULL FROM {STREAM} ORDER BY 1") == [
        ("j1", True), ("j2", False),
    ]  # fmt: skip


async def test_republish_races(database: Database) -> None:
    """Two that republish at once and one that enqueues the same jobs leave each row once."""
    await enqueue(database, 1, 3000)
    tokens = await rows(database)
    statement = published_before_statement(STREAM)
    ((before,),) = await execute(database, "SELECT clock_timestamp()")

    async def republish() -> int:
        total = 0
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
            while count := (await connection.execute(statement, {"limit": 100, "before": before})).rowcount:
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
    assert grown.keys() == tokens.keys()
    assert all(grown[job] > token for job, token in tokens.items())
