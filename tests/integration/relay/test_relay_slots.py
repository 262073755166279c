"""What the relay makes of a slot that is held, moved, dropped or lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psycopg
import pytest

from delegator.dev.postgres import Postgres
from delegator.relay import running_relay
from delegator.relay.copy_stream import CopyStream
from tests.support import Database, Databases

from .client import (
    STREAM,
    Puller,
    behind,
    drop_slot,
    enqueue,
    execute,
    options,
    other_reader,
    recreated,
    relay,
    terminate,
    until,
    wal_position,
)


async def test_a_held_slot(database: Database) -> None:
    """A slot that a process which is no relay holds is waited for."""
    async with relay(database):
        await enqueue(database, 1, 1)
    async with other_reader(database) as other, running_relay(options(database), wait=False) as handle:

        async def says_so() -> bool:
            return "held by another process" in (handle.relay.state.problem or "")

        await until(says_so)
        await other.close()
        await handle.relay.streaming()
        async with aiohttp.ClientSession() as session:
            assert await Puller(handle.url, session).drain() == ["j1"]


async def test_a_dropped_slot(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A dropped slot is created again, and the jobs that nobody has claimed are republished."""
    async with relay(database, republish_batch=300) as (handle, puller):
        await enqueue(database, 1, 1000)
        await puller.ack(await puller.receive(100))
        known = f"SELECT job_id, fencing_token, enqueued_at FROM {STREAM}"
        before = {job: (token, enqueued) for job, token, enqueued in await execute(database, known)}
        await execute(
            database,
            f"UPDATE {STREAM} SET lease_id = CASE job_id WHEN 'j1' THEN 7 END, "
            "outcome = CASE job_id WHEN 'j2' THEN 'completed' END, retry_at = CASE job_id WHEN 'j3' THEN now() END "
            "WHERE job_id IN ('j1', 'j2', 'j3')",
        )
        await drop_slot(database)
        await until(lambda: recreated(handle))
        await enqueue(database, 1001, 1010)

        async def done() -> bool:
            return await puller.metric("delegator_relay_republished_total") == 997

        await until(done)
        arrived = await puller.drain()
        assert set(arrived) >= {f"j{number}" for number in range(4, 1011)}
        after = {job: (token, enqueued) for job, token, enqueued in await execute(database, known)}
        assert len(after) == 1010
        assert {job for job in before if after[job][0] == before[job][0]} == {"j1", "j2", "j3"}
        assert all(after[job][0] >= token and after[job][1] == enqueued for job, (token, enqueued) in before.items())
        assert await puller.metric("delegator_relay_slot_recreated_total") == 1
        position = await wal_position(database)
        await until(lambda: behind(database, position))
    assert any(r.message == "relay_slot_new" and r.levelno == logging.WARNING for r in caplog.records)


async def test_an_invalidated_slot(server_directory: Any) -> None:
    """A slot whose WAL the server has removed is created again."""
    server = Postgres(
        server_directory.path / "relay-lost", server_directory.log("relay-lost"), durable=False, preferred_port=None
    )
    await server.start()
    try:
        database = await Databases(server).create()
        for setting in ("max_slot_wal_keep_size = '1MB'", "max_wal_size = '32MB'", "min_wal_size = '32MB'"):
            await execute(database, f"ALTER SYSTEM SET {setting}")
        await execute(database, "SELECT pg_reload_conf()")
        async with relay(database) as (_, puller):
            await puller.drain(500)
        await enqueue(database, 1, 50)
        for _ in range(5):
            await execute(database, "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            await execute(database, "DROP TABLE filler")
            await execute(database, "SELECT pg_switch_wal()")
            await execute(database, "CHECKPOINT")
        state = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s"
        assert await execute(database, state, database.settings.slot) == [("lost",)]
        async with relay(database) as (handle, puller):
            assert sorted(await puller.drain()) == sorted(f"j{number}" for number in range(1, 51))
            assert handle.relay.state.slot_recreated == 1
    finally:
        await server.stop()
        server.release()


async def move_slot(database: Database) -> None:
    await execute(
        database,
        "SELECT pg_replication_slot_advance(%s, pg_current_wal_insert_lsn()) FROM ("
        "SELECT pg_logical_emit_message(false, 'x', 'y', true) FROM pg_sleep(0)) moved",
        database.settings.slot,
    )


async def test_a_slot_moved_by_another(database: Database) -> None:
    """A slot that somebody moves while no relay holds it counts as lost."""
    async with relay(database) as (handle, puller):
        await enqueue(database, 1, 3)
        assert await puller.drain() == ["j1", "j2", "j3"]
        async with asyncio.timeout(60):
            while True:
                await terminate(database)
                try:
                    await move_slot(database)
                    break
                except psycopg.errors.ObjectInUse:
                    continue
        await until(lambda: recreated(handle))
        assert set(await puller.drain()) == {"j1", "j2", "j3"}


async def test_a_slot_moved_at_the_start(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that somebody moves while the relay takes it counts as lost."""
    start = CopyStream.start
    moves = 0

    async def move_and_start(stream: CopyStream) -> None:
        nonlocal moves
        moves += 1
        if moves == 1:
            await move_slot(database)
        await start(stream)

    async with relay(database) as (handle, puller):
        await enqueue(database, 1, 3)
        assert await puller.drain() == ["j1", "j2", "j3"]
        monkeypatch.setattr(CopyStream, "start", move_and_start)
        await terminate(database)
        await until(lambda: recreated(handle))
        assert set(await puller.drain()) == {"j1", "j2", "j3"}


async def test_first_start(database: Database) -> None:
    """The first start streams what the table holds already."""
    expected = await enqueue(database, 1, 30)
    async with relay(database) as (handle, puller):
        assert sorted(await puller.drain()) == sorted(expected)
        assert handle.relay.state.slot_recreated == 0


@asynccontextmanager
async def stream_role(database: Database) -> AsyncIterator[str]:
    """The URL of a role that may read and stream, as the documentation recommends."""
    role = f"stream_{database.name}"
    await execute(database, f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'x' IN ROLE delegator_stream")
    try:
        scheme, _, rest = database.url.partition("://")
        yield f"{scheme}://{role}:x@{rest.partition('@')[2]}"
    finally:
        await execute(database, f"DROP ROLE {role}")


async def test_first_start_with_the_recommended_role(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The first start on an empty table has nothing to warn of."""
    caplog.set_level(logging.INFO)

    async def has_looked() -> bool:
        return any(event in caplog.text for event in ("relay_gap_republished", "relay_may_not_republish"))

    async with stream_role(database) as url, relay(database, database_url=url):
        await until(has_looked)
    assert "relay_slot_new" in caplog.text
    ours = [record for record in caplog.records if record.name.startswith("delegator.")]
    assert [record.message for record in ours if record.levelno >= logging.WARNING] == []


async def test_a_role_that_may_not_write(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A role that may not write to the table streams, and leaves the rest to `delegator serve`."""
    caplog.set_level(logging.INFO)
    async with stream_role(database) as url:
        await enqueue(database, 1, 3)
        async with relay(database, database_url=url) as (handle, puller):
            await enqueue(database, 4, 5)
            assert await puller.drain() == ["j4", "j5"]
            assert handle.relay.state.reconnects == 0
        (record,) = [record for record in caplog.records if record.message == "relay_may_not_republish"]
        assert vars(record)["left_to"] == "delegator serve"
        assert "relay_gap_republished" not in caplog.text
