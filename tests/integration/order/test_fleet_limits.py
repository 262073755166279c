"""Limits that all workers of an ordered queue keep together."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from datetime import timedelta

from temporalio.common import Priority

from delegator import FleetLimits, current_job, delegated
from delegator.postgres import leases
from delegator.postgres.connections import connect
from delegator.postgres.queue_order import CATCH_UP, OrderStatements, Place
from tests.integration.order.conftest import OrderedEngine, until


class Running:
    """Counts what runs at once, as handlers see it."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done = 0

    async def run(self, key: str) -> None:
        for name in (key, "all"):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        await asyncio.sleep(random.uniform(0, 0.01))
        for name in (key, "all"):
            self.now[name] -= 1
        self.done += 1


async def test_max_concurrent(ordered: OrderedEngine) -> None:
    """Two pools together never run more jobs of a type than its limit, and run as many."""
    running = Running()

    @delegated(fleet_limits=FleetLimits(max_concurrent=3))
    async def limited(number: int) -> None:
        await running.run("limited")

    @delegated
    async def free(number: int) -> None:
        await running.run("free")

    await ordered.enqueue("limited", list(range(60)))
    await ordered.enqueue("free", list(range(60)))
    async with ordered.worker(limited, free, concurrency=8), ordered.worker(limited, free, concurrency=8):
        await until(lambda: running.done == 120)
    assert running.most["limited"] == 3 and running.most["free"] > 3


async def test_max_concurrent_per_key(ordered: OrderedEngine) -> None:
    """The limit of a fairness key counts the jobs with that key only."""
    running = Running()

    @delegated(fleet_limits=FleetLimits(max_concurrent_per_key=1))
    async def serve(tenant: str) -> None:
        await running.run(tenant)

    for tenant in ("a", "b", "c"):
        await ordered.enqueue("serve", [tenant] * 15, Priority(fairness_key=tenant))
    async with ordered.worker(serve, concurrency=8), ordered.worker(serve, concurrency=8):
        await until(lambda: running.done == 45)
    assert running.most["a"] == running.most["b"] == running.most["c"] == 1
    assert running.most["all"] > 1


async def test_max_per_second(ordered: OrderedEngine) -> None:
    """Two pools together start no more jobs of a type than its rate allows, and other types are not held up."""
    starts: list[float] = []
    free: list[int] = []
    interval = 1 / 25

    @delegated(fleet_limits=FleetLimits(max_per_second=25))
    async def slow(number: int) -> None:
        starts.append(time.monotonic())

    @delegated
    async def quick(number: int) -> None:
        free.append(len(starts))

    await ordered.enqueue("slow", list(range(30)))
    await ordered.enqueue("quick", list(range(5)))
    began = time.monotonic()
    async with ordered.worker(slow, quick, concurrency=8), ordered.worker(slow, quick, concurrency=8):
        await until(lambda: len(starts) == 30)
    for number, start in enumerate(sorted(starts)):
        assert start - began >= number * interval - CATCH_UP.total_seconds()
    assert len(free) == 5 and max(free) < 30


async def test_max_per_second_per_key(ordered: OrderedEngine) -> None:
    """The rate of a fairness key counts the jobs with that key only."""
    starts: dict[str, list[float]] = {"a": [], "b": []}
    interval = 1 / 20

    @delegated(fleet_limits=FleetLimits(max_per_second_per_key=20))
    async def serve(tenant: str) -> None:
        starts[tenant].append(time.monotonic())

    for tenant in starts:
        await ordered.enqueue("serve", [tenant] * 12, Priority(fairness_key=tenant))
    began = time.monotonic()
    async with ordered.worker(serve, concurrency=8), ordered.worker(serve, concurrency=8):
        await until(lambda: all(len(each) == 12 for each in starts.values()))
    for each in starts.values():
        for number, start in enumerate(sorted(each)):
            assert start - began >= number * interval - CATCH_UP.total_seconds()


async def test_dead_worker_frees_its_permits(ordered: OrderedEngine) -> None:
    """The permit of a worker that dies is free when its lease has expired, and not before."""
    seconds = 1.5
    starts: list[tuple[int, int, float]] = []

    @delegated(fleet_limits=FleetLimits(max_concurrent=1))
    async def alone(number: int) -> None:
        starts.append((number, current_job().attempt, time.monotonic()))

    await ordered.enqueue("alone", [1, 2])
    url = ordered.engine.settings.database_url.get_secret_value()
    granted = time.monotonic()
    async with await connect(url, application_name="a worker that dies") as db:
        lease = await leases.grant(db, "worker", "dead", "default", timedelta(seconds=seconds))
        taken = await OrderStatements("default").take(db, [Place(3, "0:alone", 1)], lease, {"alone"})
        assert len(taken) == 1
    async with ordered.worker(alone, concurrency=5), ordered.worker(alone, concurrency=5):
        await until(lambda: len(starts) == 2)
    assert sorted((number, attempt) for number, attempt, _ in starts) == [(1, 2), (2, 1)]
    assert all(start - granted >= seconds for _, _, start in starts)
