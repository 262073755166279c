"""Handlers that misbehave."""

from __future__ import annotations

import time

import pytest

from tests.chaos import flows
from tests.chaos.arena import INLINE, LEASE, SIGNALLED, Arena
from tests.chaos.load import SCALE, Finish, Load
from tests.chaos.tasks import Item, answer

BAD = {
    "undecodable": "ApplicationError",
    "wrong arguments": "ApplicationError",
    "unknown type": "ApplicationError",
    "nul type": "ApplicationError",
    "nul message": "ApplicationError",
    "exhausted": "ApplicationError",
    "exit": "ApplicationError",
    "interrupt": "ApplicationError",
    "generator": "ApplicationError",
    "cancel": "ApplicationError",
    "unencodable": "ApplicationError",
    "huge": "ApplicationError",
    "deep": "ApplicationError",
    "group": "ApplicationError",
}
"""How each bad job must end."""
NEVER_CALLED = 3
"""Of these, no handler hears."""


class PoisonedLoad(Load):
    def unnoted(self) -> int:
        return NEVER_CALLED * len(self.expected)


@pytest.mark.parametrize("task_queue", [INLINE, SIGNALLED])
async def test_poison(field: Arena, finish: Finish, task_queue: str) -> None:
    load = PoisonedLoad(field, "poison among good jobs", task_queue)
    pids = [worker.pid for worker in field.workers]
    for turn in range(SCALE):
        name = f"poison-{task_queue}-{turn}-{time.monotonic_ns()}"
        bad = [Item(name, number, 0, kind) for number, kind in enumerate((*BAD, "flaky"))]
        good = [Item(name, 100 + number, number * 7) for number in range(10)]
        expected = [*BAD.values(), answer(bad[-1]), *map(answer, good)]
        await load.start(name, flows.Poisoned.run, [bad, good], expected)
    load.fault_over()
    await finish(load)
    assert pids == [worker.pid for worker in field.workers]


async def test_block_the_event_loop(field: Arena, finish: Finish) -> None:
    load = Load(field, "a handler blocks the event loop past the lease", SIGNALLED)
    await load.add(2, 6, handler="block", one_by_one=0)
    await load.add(1, 1, handler="block", kind="block", ms=lambda number: int(LEASE * 1_000) + 2_500)
    await load.noted("start", 13)
    await field.note_held(*field.http)
    load.fault_over()
    await finish(load, recovery=LEASE + 2.5 + LEASE + 5)


async def test_slow_queue(field: Arena, finish: Finish) -> None:
    """The jobs of a fast queue do not wait for a queue that is 1,000 times slower."""
    slow = Load(field, "a queue 1,000x slower beside", INLINE)
    await slow.add(2 * SCALE, 10, handler="crawl", ms=lambda number: 4_000, one_by_one=0)
    await slow.noted("start", 10)
    fast = Load(field, "a fast queue beside it", INLINE)
    await fast.add(6 * SCALE, 15, ms=lambda number: 4)
    fast.fault_over()
    slow.fault_over()
    await finish(slow, recovery=30.0 * SCALE)
    outcome = await finish(fast)
    assert outcome.recovery < 4, "the fast queue waited for the slow one"
