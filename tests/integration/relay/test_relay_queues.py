"""Queues in one relay do not harm each other."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from delegator.errors import SchemaError
from delegator.relay import running_relay
from tests.conftest import MakeDatabase
from tests.support import Database

from .client import STREAM, Puller, enqueue, execute, names, options, other_reader, relay, until

VIDEO = "custom_task_queue_video"


@pytest.fixture
async def both(make_database: MakeDatabase) -> Database:
    return await make_database(queues=("default", "video"))


async def shown(puller: Puller, series: str, stream: str) -> float:
    async with puller.session.get(f"{puller.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    (value,) = (line.split()[-1] for line in lines if line.startswith(f'{series}{{stream="{stream}"}}'))
    return float(value)


async def health(puller: Puller, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = (await puller.health())["streams"][stream]
    return found


async def drop_slot(database: Database, name: str) -> None:
    async with asyncio.timeout(60):
        while True:
            await execute(
                database,
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots "
                "WHERE slot_name = %s AND active_pid IS NOT NULL",
                name,
            )
            try:
                await execute(database, "SELECT pg_drop_replication_slot(%s)", name)
                return
            except psycopg.errors.ObjectInUse:
                continue


@pytest.mark.parametrize("bound", [{"max_messages": 400}, {"max_bytes": 120_000}])
async def test_a_backlog_delays_no_other_queue(both: Database, bound: dict[str, int]) -> None:
    """A queue whose messages nobody receives does not delay another queue."""
    async with relay(both, **bound) as (handle, puller):
        backlog = await enqueue(both, 1, 5000, size=500, table=VIDEO)

        async def stalled() -> bool:
            return handle.relay.state.streams[VIDEO].stalled

        await until(stalled)
        buffered = len(handle.relay.streams[VIDEO])
        assert 0 < buffered <= 200
        for number in range(1, 21):
            await enqueue(both, 100 * number + 1, 100 * number + 50, size=500)
            arrived: list[str] = []
            async with asyncio.timeout(60):
                while len(arrived) < 50:
                    batch = await puller.receive()
                    arrived += names(batch)
                    await puller.ack(batch)
            assert arrived == [f"j{100 * number + job}" for job in range(1, 51)]
        assert len(handle.relay.streams[VIDEO]) == buffered
        assert (await health(puller, VIDEO))["state"] == "stalled"
        assert (await health(puller, STREAM))["state"] == "streaming"
        assert [await shown(puller, "delegator_relay_stalled", stream) for stream in (STREAM, VIDEO)] == [0, 1]
        late: list[str] = []
        async with asyncio.timeout(60):
            while len(late) < len(backlog):
                batch = await puller.receive(stream=VIDEO)
                late += names(batch)
                await puller.ack(batch, VIDEO)
        assert late == backlog
        assert handle.relay.state.reconnects == 0


async def test_the_position_of_a_queue_is_its_own(both: Database) -> None:
    async with relay(both) as (_, puller):
        await enqueue(both, 1, 1, table=VIDEO)
        held = await puller.receive(stream=VIDEO)
        await enqueue(both, 1, 3)
        assert await puller.drain() == ["j1", "j2", "j3"]
        ((position,),) = await execute(both, "SELECT pg_current_wal_lsn()::text")

        async def confirmed() -> bool:
            (row,) = await execute(
                both,
                "SELECT bool_or(confirmed_flush_lsn >= %s::pg_lsn) FILTER (WHERE slot_name = %s), "
                "bool_or(confirmed_flush_lsn >= %s::pg_lsn) FILTER (WHERE slot_name = %s) FROM pg_replication_slots",
                position, both.settings.slot, position, f"{both.settings.slot}_video",
            )  # fmt: skip
            assert row[1] is False
            return bool(row[0])

        await until(confirmed)
        assert names(held) == ["j1"]


async def test_a_dropped_slot_of_one_queue(both: Database) -> None:
    """The slot of one queue is created again without touching the other queue."""
    slot = f"{both.settings.slot}_video"
    async with relay(both) as (handle, puller):
        await enqueue(both, 1, 20, table=VIDEO)
        await enqueue(both, 1, 20)
        await puller.has(20, VIDEO)
        await puller.has(20)
        assert len(await puller.receive(stream=VIDEO)) == 20
        assert len(await puller.receive()) == 20
        tokens = f"SELECT job_id, fencing_token, published_at FROM {STREAM} ORDER BY job_id"
        before = await execute(both, tokens)
        others = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s"
        walsender = await execute(both, others, both.settings.slot)
        await drop_slot(both, slot)

        async def republished() -> bool:
            return await shown(puller, "delegator_relay_republished_total", VIDEO) == 20

        await until(republished)
        assert sorted(names(await puller.receive(stream=VIDEO))) == sorted(f"j{job}" for job in range(1, 21))
        states = handle.relay.state.streams
        assert states[VIDEO].slot_recreated == 1
        assert (states[STREAM].slot_recreated, states[STREAM].reconnects, states[STREAM].republished) == (0, 0, 0)
        assert await execute(both, tokens) == before
        assert await execute(both, others, both.settings.slot) == walsender
        assert await puller.receive(wait=500) == []


async def test_a_held_slot_of_one_queue(both: Database) -> None:
    """A queue is streamed while another process holds the slot of another queue."""
    async with relay(both, queues=("video",)):
        pass
    async with other_reader(both, "video"), running_relay(options(both), wait=False) as handle:
        states = handle.relay.state.streams

        async def reported() -> bool:
            return states[STREAM].connected and states[VIDEO].problem is not None

        await until(reported)
        body = handle.relay.state.health()
        assert (body["ok"], body["state"]) == (False, "starting")
        assert "slot_" in str(body["problem"]) and "held by another process" in str(body["problem"])
        assert "_video" in str(body["problem"])
        assert not states[VIDEO].started
        assert not handle.task.done()


async def test_a_queue_without_a_table(database: Database) -> None:
    """A queue that can't be streamed ends the relay at its start."""
    with pytest.raises(SchemaError, match="custom_task_queue_nope does not exist"):
        async with relay(database, queues=("default", "nope")):
            pass
