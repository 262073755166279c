"""Networks that cut connections, slow them down, or lose every packet."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.arena import INLINE, LEASE, SIGNALLED, Arena
from tests.chaos.load import LONG, RECOVERY, SCALE, Finish, Load
from tests.chaos.proxy import Proxy

KEEP_ALIVE = 15.0
"""Seconds until a gRPC client misses the answer to a ping; Temporal allows no more than one in 10 s."""
DURATION = LEASE * (5 if LONG else 1.5)


def proxies(field: Arena, server: str) -> list[Proxy]:
    return {
        "PostgreSQL": field.database_proxies,
        "the relay": field.stream_proxies,
        "Temporal": field.temporal_proxies,
    }[server]


@pytest.mark.parametrize(
    ("server", "task_queue"), [("PostgreSQL", INLINE), ("the relay", SIGNALLED), ("Temporal", SIGNALLED)]
)
async def test_cut(field: Arena, finish: Finish, server: str, task_queue: str) -> None:
    load = Load(field, f"cut TCP to {server}", task_queue)
    await load.add(6 * SCALE, 15)
    await load.noted("start", 10)
    for proxy in proxies(field, server):
        proxy.cut()
    await asyncio.sleep(DURATION / 3)
    if server == "PostgreSQL":
        await field.note_held(*field.processes)
    for proxy in proxies(field, server):
        proxy.heal()
    load.fault_over()
    await finish(load)


@pytest.mark.parametrize(
    ("server", "task_queue"), [("PostgreSQL", SIGNALLED), ("the relay", INLINE), ("Temporal", INLINE)]
)
async def test_slow(field: Arena, finish: Finish, server: str, task_queue: str) -> None:
    load = Load(field, f"slow TCP to {server}", task_queue)
    for proxy in proxies(field, server):
        proxy.slow(0.15)
    await load.add(6 * SCALE, 10)
    await load.noted("end", 30)
    for proxy in proxies(field, server):
        proxy.heal()
    load.fault_over()
    await finish(load)


@pytest.mark.parametrize(
    ("server", "task_queue"), [("PostgreSQL", SIGNALLED), ("the relay", INLINE), ("Temporal", INLINE)]
)
async def test_half_open(field: Arena, finish: Finish, server: str, task_queue: str) -> None:
    """Work goes on although no packet arrives on existing connections; new connections work after a while."""
    load = Load(field, f"half-open TCP to {server}", task_queue)
    await load.add(6 * SCALE, 15)
    await load.noted("start", 10)
    held = field.processes if server == "PostgreSQL" else ()
    await field.note_held(*held)
    for proxy in proxies(field, server):
        proxy.lose()
    await asyncio.sleep(LEASE / 6)
    await field.note_held(*held)
    for proxy in proxies(field, server):
        proxy.heal()
    load.fault_over()
    await finish(load, recovery=KEEP_ALIVE + RECOVERY if server == "Temporal" else RECOVERY)


async def test_half_open_leader(field: Arena, finish: Finish) -> None:
    """Another process becomes the leader when the leader's machine vanishes silently and a worker dies."""
    load = Load(field, "half-open TCP between PostgreSQL and the leader", SIGNALLED)
    await load.add(6, 10, ms=lambda number: 300)
    victim = field.http[0]
    await load.noted("start", 5, pid=victim.pid)
    leader = await field.leader()
    leader.database.lose()
    load.fault_ended = await field.kill(victim)
    await leader.kill()
    try:
        await finish(load)
    finally:
        leader.database.reset()
