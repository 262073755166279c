"""Processes that are killed."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena
from tests.chaos.conftest import Finish
from tests.chaos.load import INLINE, SCALE, SIGNALLED, Load


async def test_kill_worker_repeatedly(field: Arena, finish: Finish) -> None:
    load = Load(field, "kill -9 a worker, repeatedly", SIGNALLED)
    await load.add(6 * SCALE, 20, ms=lambda number: 100 + number * 53 % 400)
    for turn in range(2 * SCALE):
        victim = field.http[turn % 2]
        await load.noted("start", 1, pid=victim.pid)
        await field.kill(victim)
        load.fault_over()
        await victim.start()
    await finish(load)


async def test_kill_the_relay(field: Arena, finish: Finish) -> None:
    load = Load(field, "kill -9 the relay", INLINE)
    await load.add(6, 15)
    await load.noted("start", 5)
    await field.relay.kill()
    await field.relay.start()
    load.fault_over()
    await finish(load)


@pytest.mark.parametrize("task_queue", [SIGNALLED])
async def test_kill_the_leader(field: Arena, finish: Finish, task_queue: str) -> None:
    load = Load(field, "kill -9 the sweeper's leader and a worker", task_queue)
    await load.add(6, 15)
    await load.noted("start", 5, pid=field.http[0].pid)
    leader = await field.leader()
    await leader.kill()
    await field.kill(field.http[0])
    load.fault_over()
    await finish(load)
