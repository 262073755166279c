"""Random faults, one after another, while work goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from tests.chaos.arena import INLINE, LEASE, SIGNALLED, Arena, Process
from tests.chaos.load import LONG, RECOVERY, SCALE, Finish, Load, Outcome

_SECONDS = 300.0
_READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"
_WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only"


async def read_only(field: Arena, seconds: float) -> None:
    """Let PostgreSQL refuse every write for a while, as a server does that a failover has not promoted yet."""
    for statement, pause in ((_READ_ONLY, seconds), (_WRITABLE, 0.0)):
        await field.query(statement)  # type: ignore[arg-type]
        await field.query("SELECT pg_reload_conf()")
        await asyncio.sleep(pause)


class Monkey:
    """Breaks something, mends it, and goes on."""

    def __init__(self, field: Arena, random: Random) -> None:
        self._field = field
        self._random = random
        self.done: Counter[str] = Counter()
        faults: dict[Callable[[], Awaitable[None]], int] = {
            self._kill: 10,
            self._pause: 2,
            self._cut: 3,
            self._end_sessions: 1,
            self._read_only: 1,
            self._restart: 1,
        }
        self._faults, self._weights = list(faults), list(faults.values())

    async def act(self) -> None:
        """Do one fault, and wait until everything runs again."""
        (fault,) = self._random.choices(self._faults, self._weights)
        await fault()

    async def run(self, until: Callable[[], bool]) -> None:
        """Do faults until the condition holds."""
        while not until():
            await self.act()
            await asyncio.sleep(self._random.uniform(0.2, 1.5))

    def _victim(self) -> Process:
        return self._random.choice(self._field.processes)

    async def _kill(self) -> None:
        victim = self._victim()
        self.done[f"kill {victim.name}"] += 1
        await self._field.kill(victim)
        await victim.start()

    async def _pause(self) -> None:
        victim = self._victim()
        self.done[f"pause {victim.name}"] += 1
        victim.signal(signal.SIGSTOP)
        await self._field.note_held(victim)
        await asyncio.sleep(self._random.uniform(0.1, LEASE * 1.5))
        victim.signal(signal.SIGCONT)

    async def _cut(self) -> None:
        victim = self._victim()
        self.done["cut the network"] += 1
        proxies = (victim.database, victim.temporal, victim.stream)
        await self._field.note_held(victim)
        for proxy in proxies:
            proxy.cut()
        await asyncio.sleep(self._random.uniform(0.1, LEASE / 2))
        await self._field.note_held(victim)
        for proxy in proxies:
            proxy.heal()

    async def _end_sessions(self) -> None:
        self.done["end all sessions"] += 1
        await self._field.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()"
        )

    async def _read_only(self) -> None:
        self.done["read-only"] += 1
        await read_only(self._field, self._random.uniform(0.1, LEASE / 3))

    async def _restart(self) -> None:
        self.done["restart PostgreSQL"] += 1
        await self._field.postgres.stop_by("fast")
        await self._field.postgres.start()


def whole(outcome: Outcome) -> bool:
    """Return whether nothing is lost, stuck, wrong, broken or left. Jobs may have run twice: many faults overlap."""
    return not (outcome.lost or outcome.stuck or outcome.wrong or outcome.broken or outcome.unfinished)


async def test_read_only_moment(field: Arena, finish: Finish) -> None:
    """Every process outlives a server that takes no writes for a while, and goes on by itself."""
    load = Load(field, "PostgreSQL is read-only", SIGNALLED)
    await load.add(6 * SCALE, 15)
    await load.noted("start", 10)
    before = [process.pid for process in field.processes]
    await field.note_held(*field.processes)
    await read_only(field, LEASE / 3)
    load.fault_over()
    await finish(load, recovery=RECOVERY + LEASE)
    assert [process.pid for process in field.processes] == before


@pytest.mark.skipif(not LONG, reason="takes five minutes")
async def test_random_faults(field: Arena) -> None:
    """Five minutes of random faults to every process. The seed is in the output."""
    seed = time.time_ns() % 1_000_000
    loads = [Load(field, f"random faults, {queue}", queue) for queue in (INLINE, SIGNALLED)]
    monkey = Monkey(field, Random(seed))
    end = time.monotonic() + _SECONDS

    async def work(load: Load) -> None:
        while time.monotonic() < end:
            await load.add(10, 20)
            await asyncio.wait(load.tasks.values(), timeout=5.0)

    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(work(load))
        await monkey.run(lambda: time.monotonic() >= end)
    outcomes = []
    for load in loads:
        load.fault_over()
        outcomes.append(await load.outcome())
    print(f"seed {seed}, faults {sum(monkey.done.values())}: {dict(monkey.done)}", *outcomes, sep="\n")
    assert all(map(whole, outcomes))
