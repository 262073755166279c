"""What the relay survives: crashes, lost connections, a full store, a lost slot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import Any

import aiohttp
import pytest

from delegator.dev.postgres import Postgres
from delegator.relay import running_relay
from tests.support import Database, Databases

from .client import (
    STREAM,
    Puller,
    behind,
    enqueue,
    execute,
    names,
    options,
    other_reader,
    relay,
    slot,
    started,
    terminate,
    until,
    wal_position,
)


async def test_an_idle_slot_moves(database: Database) -> None:
    async with relay(database):
        await execute(database, "CREATE TABLE unrelated AS SELECT generate_series(1, 1000)")
        position = await wal_position(database)
        await until(lambda: behind(database, position))


async def test_only_what_is_acked_is_confirmed(database: Database) -> None:
    async with relay(database) as (_, puller):
        await enqueue(database, 1, 1)
        held = await puller.receive()
        await enqueue(database, 2, 3)
        await puller.ack(await puller.receive())
        position = await wal_position(database)
        await asyncio.sleep(0.5)
        assert not await behind(database, position)
    async with relay(database) as (_, puller):
        assert await puller.drain() == ["j1", "j2", "j3"]
        assert held


async def test_graceful_stop(database: Database) -> None:
    """A relay that stops gracefully confirms to the server all messages that are acked."""
    async with relay(database, status_interval=60.0) as (_, puller):
        await enqueue(database, 1, 5)
        position = await wal_position(database)
        assert len(await puller.drain()) == 5
        assert not await behind(database, position)
    assert await behind(database, position)
    assert (await slot(database))[1] is None


async def spawn(database: Database, port: int) -> asyncio.subprocess.Process:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DELEGATOR_")}
    environment |= {"DELEGATOR_DATABASE_URL": database.url, "DELEGATOR_SLOT": database.settings.slot}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "delegator", "relay", "--port", str(port), env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def answers(puller: Puller) -> bool:
    try:
        return bool((await puller.health())["ok"])
    except aiohttp.ClientError:
        return False


async def test_a_killed_relay(database: Database) -> None:
    """A killed relay goes on where its slot is, and loses nothing."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    seen: set[str] = set()
    expected: list[str] = []
    inserted: dict[str, int] = {}
    tokens = "SELECT job_id, fencing_token FROM custom_task_queue"
    process = await spawn(database, port)
    async with aiohttp.ClientSession() as session:
        puller = Puller(f"http://127.0.0.1:{port}", session)
        try:
            for round_ in range(3):
                await until(lambda: answers(puller), 30)
                expected += await enqueue(database, round_ * 1000 + 1, round_ * 1000 + 1000)
                inserted = {**dict(await execute(database, tokens)), **inserted}
                batch = await puller.receive(100)
                await puller.ack(batch)
                seen.update(names(batch))
                process.send_signal(signal.SIGKILL)
                await process.communicate()
                process = await spawn(database, port)
            await until(lambda: answers(puller), 30)
            seen.update(await puller.drain())
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
    assert seen == set(expected)
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors
    after = dict(await execute(database, tokens))
    assert after == inserted, "it did not go on where the slot was, but republished rows"


async def test_a_full_store(database: Database) -> None:
    """A full store stops the reading of the WAL, and loses nothing."""
    async with relay(database, max_messages=500, status_interval=0.05) as (handle, puller):
        expected = await enqueue(database, 1, 20_000, size=200)

        async def stalled() -> bool:
            return handle.relay.state.stalled

        await until(stalled)
        await asyncio.sleep(0.5)
        stream = handle.relay.streams[STREAM]
        assert len(stream) == 500
        assert (await puller.health())["state"] == "stalled"
        assert await puller.metric("delegator_relay_stalled") == 1
        assert await puller.metric("delegator_relay_slot_lag_seconds") > 0

        async def knows_lag() -> bool:
            names = ("delegator_relay_slot_lag_bytes", "delegator_relay_slot_retained_bytes")
            return all([await puller.metric(name) > 1_000_000 for name in names])

        await until(knows_lag)
        assert (await slot(database))[1] is not None
        assert await puller.drain() == expected
        assert handle.relay.state.stalls > 1
        assert handle.relay.state.reconnects == 0
        assert (await puller.health())["state"] == "streaming"


async def test_a_full_store_and_wal_sender_timeout(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that reads nothing for long is not taken for dead by the server."""
    monkeypatch.setattr("delegator.postgres.replication._WAL_SENDER_TIMEOUT", "3s")
    async with relay(database, max_bytes=2_000_000, silence_timeout=2.4) as (handle, puller):
        expected = await enqueue(database, 1, 15_000, suffix="x" * 2_000)
        await asyncio.sleep(7)
        assert handle.relay.state.stalled
        assert handle.relay.streams[STREAM].size < 2_100_000
        assert await puller.drain() == expected
        assert handle.relay.state.reconnects == 0


async def test_a_terminated_walsender(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A walsender that was terminated is replaced, and no message comes twice."""
    caplog.set_level(logging.INFO)
    async with relay(database) as (handle, puller):
        expected = await enqueue(database, 1, 10)
        held = await puller.receive(4)
        await puller.ack(held[:2])
        for number in (1, 2):
            await terminate(database)
            await started(handle, number)
        expected += await enqueue(database, 11, 20)
        rest = await puller.drain()
        assert names(held[:4]) + rest == expected
        await puller.ack(held)
        assert await puller.metric("delegator_relay_reconnects_total") == 2
        assert await puller.metric("delegator_relay_received_total") == 20
        position = await wal_position(database)
        await until(lambda: behind(database, position))
    events = [record.message for record in caplog.records if record.name.startswith("delegator.")]
    assert events.count("connection_lost") == events.count("connection_restored") == 2


@pytest.mark.parametrize(("mode", "limit"), [("fast", 50_000), ("immediate", 50_000), ("fast", 5)])
async def test_a_restarted_postgresql(server_directory: Any, mode: Any, limit: int) -> None:
    """A server that shuts down is not held up, and is followed again when it is back."""
    server = Postgres(
        server_directory.path / f"relay-{mode}-{limit}", server_directory.log(f"relay-{mode}-{limit}"),
        durable=False, preferred_port=None,
    )  # fmt: skip
    server.stop_grace_seconds = 60.0
    await server.start()
    try:
        database = await Databases(server).create()
        async with relay(database, max_messages=limit, low_water=0.4) as (handle, puller):
            await enqueue(database, 1, 5)
            held = await puller.receive()
            while len(held) < 5:
                held += await puller.receive()
            child = server.child
            await server.stop_by(mode)
            assert child is not None and child.returncode != -signal.SIGKILL, "the relay kept it from stopping"
            assert (await puller.post("ack", {"ack_ids": [held[0]["ack_id"]]}))[0] == 200

            async def noticed() -> bool:
                return (await puller.health())["state"] == "reconnecting"

            await until(noticed)
            health = await puller.health()
            assert health["ok"] is False and health["problem"]
            await server.start()
            await started(handle, 1)
            await enqueue(database, 6, 8)
            await puller.ack(held)
            assert await puller.drain() == ["j6", "j7", "j8"]
            position = await wal_position(database)
            await until(lambda: behind(database, position))
    finally:
        await server.stop()
        server.release()


async def test_a_silent_server_is_left(database: Database) -> None:
    async with relay(database, silence_timeout=1.0) as (handle, puller):
        (_, pid) = await slot(database)
        os.kill(pid, signal.SIGSTOP)
        try:

            async def noticed() -> bool:
                return not handle.relay.state.connected

            await until(noticed)
        finally:
            os.kill(pid, signal.SIGCONT)
        await started(handle, 1)
        await enqueue(database, 1, 1)
        assert await puller.drain() == ["j1"]


async def test_receive_during_start(database: Database) -> None:
    """`receive` gets status 500 and /readyz fails until the relay streams."""
    await execute(database, "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", database.settings.slot)
    async with (
        aiohttp.ClientSession() as session,
        other_reader(database),
        running_relay(options(database), wait=False) as handle,
    ):
        puller = Puller(handle.url, session)
        status, body = await puller.post("receive", {})
        assert status == 500 and set(body) == {"summary"}
        health = await puller.health()
        assert (health["ok"], health["state"]) == (False, "starting")
        async with session.get(f"{handle.url}/readyz") as response:
            assert (response.status, (await response.json())["missing"]) == (503, ["postgresql"])
