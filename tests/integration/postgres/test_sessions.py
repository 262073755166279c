"""Sessions of the engine have the settings that its statements depend on, whatever a role or a database says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from delegator.config import Settings
from delegator.migrate import inspect, migrate
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection, connect, connection_pool
from delegator.postgres.new_jobs import NewJob
from delegator.postgres.queue_table import QueueTable
from delegator.postgres.schema_check import check
from tests.integration.relay.client import relay
from tests.support import Database, Databases

ODD = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "EST5EDT4,M3.2.0,M11.1.0",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "client_encoding": "LATIN1",
    "statement_timeout": "200ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "100ms",
    "idle_session_timeout": "100ms",
    "transaction_timeout": "300ms",
    "synchronous_commit": "off",
}
WORDS = {"ä": True, "日本": False}
"""Workflow ids, and whether LATIN1 has them."""


async def set_all(url: str, name: str, values: dict[str, str]) -> None:
    """Give the sessions of a database these settings."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for setting, value in values.items():
            alter = sql.SQL("ALTER DATABASE {} SET {} = {}")
            await connection.execute(
                alter.format(sql.Identifier(name), sql.SQL(setting), sql.Literal(value))  # type: ignore[arg-type]
            )


@pytest.fixture
async def odd(databases: Databases) -> AsyncIterator[Database]:
    """An empty database whose sessions have odd settings."""
    async with databases.fresh(migrated=False) as database:
        await set_all(database.url, database.name, ODD)
        yield database


@asynccontextmanager
async def encoded(databases: Databases, encoding: str) -> AsyncIterator[Settings]:
    """Lend an empty database with this encoding."""
    name = f"encoded_{encoding.lower()}"
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE_PROVIDER libc LOCALE 'C'"
    server = databases.server.url("postgres")
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
        await connection.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(encoding)))
        try:
            yield Settings.load(database_url=databases.server.url(name), queues="default,a", slot=f"slot_{name}")
        finally:
            await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def job(job_id: str, **fields: Any) -> NewJob:
    """Describe a job of a workflow with the same id."""
    given = {"input": b"\x00\\\xff", "header": None, "options": '{"a": "\\\\"}', "workflow_id": job_id}
    given |= {"run_id": None, "task_token": None, "deadline_ms": 60_000, "waiter_id": None}
    return NewJob(job_id, "t", **(given | fields))


async def work(connection: Connection, word: str) -> None:
    """Enqueue, claim and bury a job, and read it back."""
    table = QueueTable("default")
    assert await table.insert(connection, "ns", [job(word), job(f"{word} 2")]) == {word, f"{word} 2"}
    row = await (
        await connection.execute("SELECT job_id, workflow_id, input, enqueued_at FROM custom_task_queue ORDER BY 1")
    ).fetchone()
    assert row is not None
    assert row[:3] == (word, word, b"\x00\\\xff")
    assert row[3].tzinfo is not None
    assert (await table.depth(connection)).waiting == 2
    assert await dead_letters.find(connection, dead_letters.Selection()) == []
    await connection.execute("DELETE FROM custom_task_queue")


async def test_odd_settings(odd: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations, comparison, statements and the relay work as usual."""
    monkeypatch.setenv("PGCLIENTENCODING", "WIN1252")
    monkeypatch.setenv("PGDATESTYLE", "German")
    settings = odd.settings

    await migrate(settings)
    assert (await inspect(settings)).findings == ()
    await check(settings)
    async with connection_pool(odd.url, application_name="test", size=2) as pool, pool.connection() as connection:
        await asyncio.sleep(0.15)  # longer than its sessions may be idle
        await work(connection, "日本")
        async with relay(odd) as (_, puller):
            await QueueTable("default").insert(connection, "ns", [job("ü 日本")])
            (message,) = await puller.receive(1, "5s")
            assert message["data"]["record"]["job_id"] == "ü 日本"


async def test_every_session(odd: Database) -> None:
    """The pool's sessions and single ones have the same settings; only those of the pool prefer indexes."""
    shown = b"""SELECT current_setting('DateStyle'), current_setting('transaction_timeout'),
        current_setting('transaction_isolation'), current_setting('synchronous_commit'),
        current_setting('client_encoding'), current_setting('enable_seqscan')"""
    usual = ("ISO, DMY", "0", "read committed", "on", "UTF8")
    async with await connect(odd.url, application_name="test") as connection:
        assert await (await connection.execute(shown)).fetchone() == (*usual, "on")
    async with (
        connection_pool(odd.url, application_name="test", size=1, by_key=True) as pool,
        pool.connection() as connection,
    ):
        assert await (await connection.execute(shown)).fetchone() == (*usual, "off")


@pytest.mark.parametrize("chosen", ["local", "remote_apply"])
async def test_other_commits(odd: Database, chosen: str) -> None:
    """A commit that waits for the disk in another way stays as the administrator chose it."""
    await set_all(odd.url, odd.name, {"synchronous_commit": chosen})
    async with await connect(odd.url, application_name="test") as connection:
        assert await (await connection.execute("SHOW synchronous_commit")).fetchone() == (chosen,)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_encodings(databases: Databases, encoding: str) -> None:
    """A database of another encoding holds what it can hold. The rest is refused with a data error."""
    async with encoded(databases, encoding) as settings:
        await migrate(settings)
        report = await inspect(settings)
        assert [str(finding) for finding in report.findings if "encoding" in str(finding)]
        assert report.up_to_date
        await check(settings)
        url = settings.database_url.get_secret_value()
        async with await connect(url, application_name="test") as connection:
            for word, in_latin1 in WORDS.items():
                if in_latin1 or encoding == "SQL_ASCII":
                    await work(connection, word)
                else:
                    with pytest.raises(psycopg.DataError, match="has no equivalent"):
                        await work(connection, word)
