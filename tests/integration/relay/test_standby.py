"""Several relays: one streams, and another takes over when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import psycopg
import pytest

from delegator.errors import StreamError
from delegator.relay import RelayHandle, running_relay
from http_workers.source import Message, StreamSource
from tests.conftest import MakeDatabase
from tests.support import Database

from .client import STREAM, Puller, behind, enqueue, execute, names, options, relay, until, wal_position

TOKENS = f"SELECT job_id, fencing_token FROM {STREAM}"
LOCKS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'delegator-relay lock' AND datname = current_database() "
    "AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"
)


@contextlib.asynccontextmanager
async def standby(database: Database) -> AsyncIterator[tuple[RelayHandle, Puller]]:
    """A relay beside the one that streams."""
    async with (
        running_relay(options(database, lock_interval=0.1), wait=False) as handle,
        aiohttp.ClientSession() as session,
    ):
        await until(lambda: stands_by(handle))
        yield handle, Puller(handle.url, session)


async def stands_by(handle: RelayHandle) -> bool:
    return handle.relay.state.standby


async def streams(handle: RelayHandle) -> bool:
    return handle.relay.state.active and handle.relay.state.connected


async def test_a_standby_says_so(database: Database) -> None:
    """A standby is ready and alive, answers 503 on the pull API and on /health, and names itself in its metrics."""
    async with relay(database), standby(database) as (_, puller):
        for action in ("receive", "ack", "nack"):
            status, body = await puller.post(action, {"ack_ids": ["00000000-0000-4000-8000-000000000000"]})
            assert (status, "DELEGATOR_STREAM_URL" in body["summary"]) == (503, True)
        health = await puller.health()
        assert (health["ok"], health["state"], health["active"]) == (False, "standby", False)
        assert await puller.metric("delegator_relay_active") == 0
        for path in ("readyz", "livez"):
            async with puller.session.get(f"{puller.url}/{path}") as response:
                assert response.status == 200


async def test_the_lock_changes_hands(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A relay that lost the lock delivers nothing more. Its messages come from the other relay."""
    caplog.set_level(logging.INFO)
    async with relay(database, lock_interval=0.1) as (first, old), standby(database) as (second, new):
        expected = await enqueue(database, 1, 10)
        await old.has(10)
        tokens = await execute(database, TOKENS)
        acked = await old.receive(4)
        await old.ack(acked)
        waiting = asyncio.create_task(old.post("receive", {"wait_for": 60_000, "max_batch_size": 1}, STREAM))
        ((pid,),) = await execute(database, LOCKS)
        await execute(database, "SELECT pg_terminate_backend(%s)", pid)
        await until(lambda: streams(second))
        await until(lambda: stands_by(first))
        await waiting
        assert (await old.post("receive", {}))[0] == 503
        assert len(first.relay.streams[STREAM]) <= 6
        rest = await new.drain()
        assert set(names(acked) + rest) == set(expected)
        expected = await enqueue(database, 11, 12)
        assert await new.drain() == expected
        await until(lambda: caught_up(database))
        # The old one comes back: what it holds is forgotten, and nothing is republished.
        second.task.cancel()
        await until(lambda: streams(first))
        assert len(first.relay.streams[STREAM]) == 0
        last = await enqueue(database, 13, 13)
        assert await old.drain() == last
        assert (await execute(database, TOKENS))[:10] == tokens
        assert first.relay.state.slot_recreated == 0
    events = [record.message for record in caplog.records if record.name.startswith("delegator.relay")]
    assert events.count("relay_elected") == 3
    assert events.count("relay_standby") == 2
    assert events.count("relay_lock_lost") == 1


async def caught_up(database: Database) -> bool:
    return await behind(database, await wal_position(database))


async def test_a_foreign_lock(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A session that is no relay and holds the lock is named, and /readyz fails, until it lets go."""
    async with relay(database):
        ((key,),) = await execute(
            database,
            "SELECT (classid::int8 << 32) | objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as stranger:
        await stranger.execute("SELECT pg_advisory_lock(%s)", (key,))
        async with running_relay(options(database, lock_interval=0.1), wait=False) as handle:

            async def says_so() -> bool:
                return "is no relay" in (handle.relay.state.problem or "")

            await until(says_so)
            async with aiohttp.ClientSession() as session, session.get(f"{handle.url}/readyz") as response:
                assert response.status == 503
                assert f"pg_terminate_backend({stranger.info.backend_pid})" in await response.text()
            await stranger.execute("SELECT pg_advisory_unlock_all()")
            await handle.relay.streaming()
    assert [record.message for record in caplog.records].count("relay_lock_taken") == 1


async def test_relays_of_some_of_the_queues(make_database: MakeDatabase) -> None:
    """Relays of different queues stream side by side; one that shares a queue with another waits for it."""
    database = await make_database(queues=("default", "mail"))
    async with (
        relay(database, queues=("mail",)) as (_, mail),
        relay(database, queues=("default",)) as (_, default),
        standby(database) as (both, _),
    ):
        assert await default.health() and await mail.health()
        assert not both.relay.state.active


async def spawn(database: Database, port: int) -> asyncio.subprocess.Process:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DELEGATOR_")}
    environment |= {"DELEGATOR_DATABASE_URL": database.url, "DELEGATOR_SLOT": database.settings.slot}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "delegator", "relay", "--port", str(port), env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def state_of(session: aiohttp.ClientSession, port: int) -> str:
    try:
        return str((await Puller(f"http://127.0.0.1:{port}", session).health())["state"])
    except aiohttp.ClientError:
        return "down"


async def received(source: StreamSource) -> list[Message]:
    while True:
        try:
            messages = await source.receive(100, timedelta(seconds=2))
        except StreamError:
            await asyncio.sleep(0.05)
            continue
        if messages:
            return messages


async def test_killed_relay(database: Database) -> None:
    """A client with both URLs goes on when the relay that streams is killed. No row is republished."""
    ports = []
    for _ in range(2):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            ports.append(free.getsockname()[1])
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    processes = {port: await spawn(database, port) for port in ports}
    seen: set[object] = set()
    try:
        async with aiohttp.ClientSession() as session, StreamSource(url=urls, queue="default") as source:

            async def one_of_each() -> bool:
                return sorted([await state_of(session, port) for port in ports]) == ["standby", "streaming"]

            await until(one_of_each)
            expected = {*await enqueue(database, 1, 100)}
            tokens = await execute(database, TOKENS)
            messages = await received(source)
            await source.ack([message.ack_id for message in messages[::2]])
            (active,) = [port for port in ports if await state_of(session, port) == "streaming"]
            processes[active].send_signal(signal.SIGKILL)
            seen.update(message.data.record.job_id for message in messages)
            while seen != expected:
                messages = await received(source)
                await source.ack([message.ack_id for message in messages])
                seen.update(message.data.record.job_id for message in messages)
            assert await execute(database, TOKENS) == tokens
    finally:
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.communicate()
