"""A migration holds up no statement, however long a transaction holds what it wants."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from delegator.config import Settings
from delegator.errors import DatabaseError
from delegator.migrate import MigrationReport, migrate
from delegator.migrate.directory import migrations_directory
from tests.support import Database, write_sum
from tests.support.postgres15 import Server15

NAME = "29990101000000_lock.sql"
ACCESS_EXCLUSIVE = "ALTER TABLE custom_task_queue REPLICA IDENTITY DEFAULT;\n"
"""Takes the strongest lock, and changes nothing."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = Path(shutil.copytree(migrations_directory(), tmp_path / "migrations"))
    (path / NAME).write_text("CREATE TABLE before_the_lock (a integer);\n" + ACCESS_EXCLUSIVE)
    write_sum(path)
    return path


@asynccontextmanager
async def long_transaction(url: str) -> AsyncIterator[AsyncConnection]:
    """Somebody's report that reads the queue and stays in its transaction."""
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT count(*) FROM custom_task_queue")
        yield connection


async def enqueue(url: str, number: int) -> None:
    """Insert jobs, each in its own transaction. None may wait for long."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET lock_timeout = '10s'")
        for job in range(number):
            await connection.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES (%s, 't')", [str(job)])
            await asyncio.sleep(0.02)


async def said(caplog: pytest.LogCaptureFixture, message: str) -> None:
    async with asyncio.timeout(60):
        while message not in caplog.messages:
            await asyncio.sleep(0.02)


async def beside_jobs(
    settings: Settings, url: str, caplog: pytest.LogCaptureFixture, **options: Path
) -> MigrationReport:
    """Migrate during a long transaction, enqueue meanwhile, and end the transaction."""
    caplog.set_level(logging.INFO)
    async with asyncio.TaskGroup() as group, long_transaction(url):
        task = group.create_task(migrate(settings, **options))
        await said(caplog, "migration_waits_for_lock")
        await enqueue(url, 50)
        assert not task.done()
    return task.result()


async def test_long_transaction(
    database: Database, directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are enqueued while a migration waits for a long transaction; then the migration is done, once."""
    monkeypatch.setenv("DELEGATOR_ATLAS", "off")
    report = await beside_jobs(database.settings, database.url, caplog, directory=directory)
    assert report.applied == (NAME,)
    assert caplog.messages.count("migration_waits_for_lock") == 1
    assert caplog.messages.count("migration_applied") == 1


async def test_transaction_without_end(database: Database, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration gives up with a clear error, and has changed nothing."""
    monkeypatch.setenv("DELEGATOR_ATLAS", "off")
    monkeypatch.setattr("delegator.migrate.database.LOCK_TIMEOUT_SECONDS", 0.3)
    async with long_transaction(database.url):
        with pytest.raises(DatabaseError, match=r"waited 0.3 s for a lock: .*pg_stat_activity"):
            await migrate(database.settings, directory=directory)
    async with await AsyncConnection.connect(database.url) as connection:
        assert await (await connection.execute("SELECT to_regclass('before_the_lock')")).fetchone() == (None,)


@pytest.mark.atlas
async def test_atlas(atlas: Path, server15: Server15, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same when Atlas applies the files."""
    url = server15.database()
    settings = Settings.load(database_url=url)
    await migrate(settings, atlas=atlas)
    report = await beside_jobs(settings, url, caplog, directory=directory, atlas=atlas)
    assert (report.applied, report.atlas) == ((NAME,), atlas)


async def test_interrupted_index(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An additional queue gets an index without a lock that writers wait for; what a broken one left is removed."""
    monkeypatch.setenv("DELEGATOR_ATLAS", "off")
    settings = Settings.load(database_url=database.url, queues="default,video")
    await migrate(settings)
    query = "SELECT indexrelid, indisvalid FROM pg_index WHERE indrelid = 'custom_task_queue_video'::regclass"
    async with await AsyncConnection.connect(database.url, autocommit=True) as connection:
        before = await (await connection.execute(query)).fetchall()
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'custom_task_queue_video'::regclass"
            " AND NOT indisprimary AND indexrelid = (SELECT min(indexrelid) FROM pg_index"
            " WHERE indrelid = 'custom_task_queue_video'::regclass AND NOT indisprimary)"
        )
        async with await psycopg.AsyncConnection.connect(database.url) as writer:
            await writer.execute("INSERT INTO custom_task_queue_video (job_id, job_type) VALUES ('1', 't')")
            task = asyncio.create_task(migrate(settings))
            waiting = "SELECT FROM pg_stat_activity WHERE query LIKE 'DROP INDEX CONCURRENTLY%%' AND datname = %s"
            async with asyncio.timeout(60):
                while not await (await connection.execute(waiting, [database.name])).fetchall():
                    await asyncio.sleep(0.02)
            await connection.execute("SET lock_timeout = '10s'")
            await connection.execute("INSERT INTO custom_task_queue_video (job_id, job_type) VALUES ('2', 't')")
        await task
        after = await (await connection.execute(query)).fetchall()
    assert len(after) == len(before) and all(valid for _, valid in after)
