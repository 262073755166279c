"""A stream that repeats messages, or loses them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import psycopg

from tests.chaos.arena import INLINE, NOBODY_DIES, QUEUES, SIGNALLED, Arena, eventually
from tests.chaos.load import LONG, SCALE, Finish, Load
from tests.chaos.shim import Shim, shim

TURNS = 5 if LONG else 1


@contextlib.asynccontextmanager
async def shimmed(field: Arena) -> AsyncIterator[Shim]:
    """Put a shim between all workers and the relay."""
    relay = field.relay.ports[0]
    async with shim(relay) as made:
        try:
            for proxy in field.stream_proxies:
                proxy.target = made.port
                proxy.reset()
            yield made
        finally:
            for proxy in field.stream_proxies:
                proxy.target = relay
                proxy.reset()


async def test_drop_the_slot(field: Arena, finish: Finish) -> None:
    load = Load(field, "drop the slot under load", SIGNALLED)

    async def dropped() -> bool:
        await field.query("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        try:
            await field.query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        except psycopg.errors.ObjectInUse:
            return False
        return True

    for turn in range(TURNS):
        await load.add(6 * SCALE, 15)
        await load.noted("start", 5 * (turn + 1))
        await eventually(dropped, what="the slot to go")
        await load.add(3 * SCALE, 5)
        load.fault_over()
    await finish(load)


async def test_kill_relay_before_republication(field: Arena, finish: Finish) -> None:
    """Jobs enqueued before the new slot are run, although the relay dies before it publishes them again."""
    load = Load(field, "kill -9 the relay between new slot and republication", INLINE)
    await field.relay.kill()
    slots = await field.query("SELECT slot_name FROM pg_replication_slots")
    assert len(slots) == len(QUEUES)

    async def dropped() -> bool:
        try:
            await field.query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        except psycopg.errors.ObjectInUse:
            return False
        return True

    await eventually(dropped, what="the dead relay's slots to be free")
    await load.add(6 * SCALE, 10, one_by_one=0)

    async def enqueued() -> bool:
        return len(await field.rows("outcome IS NULL")) >= 60 * SCALE

    await eventually(enqueued, what="the jobs to be enqueued")
    for (slot,) in slots:
        await field.query("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    undelivered = await field.republished("undelivered")
    await field.relay.start()
    load.fault_over()
    outcome = await finish(load)
    assert not outcome.doubles
    assert await field.republished("undelivered") > undelivered


async def test_replay_every_message(field: Arena, finish: Finish) -> None:
    load = Load(field, "replay of every message since the start", INLINE, task_timeout=NOBODY_DIES)
    async with shimmed(field) as made:
        await load.add(9 * SCALE, 15, ms=lambda number: 50 + number * 71 % 500)
        for turn in range(3 * TURNS):
            await load.noted("start", 30 + 30 * turn)
            made.replay()
        load.fault_over()
        outcome = await finish(load)
        assert made.repeated > 90
    assert not outcome.doubles


async def test_lose_messages(field: Arena, finish: Finish) -> None:
    load = Load(field, "the stream loses messages", SIGNALLED)
    async with shimmed(field) as made:
        for _ in range(TURNS):
            made.losing = True
            lost = made.lost
            await load.add(6 * SCALE, 5)

            async def some_are_lost(lost: int = lost) -> bool:
                return made.lost > lost

            await eventually(some_are_lost, what="a loss")
            made.losing = False
            await load.add(3 * SCALE, 5)
            load.fault_over()
        outcome = await finish(load)
    assert not outcome.doubles
