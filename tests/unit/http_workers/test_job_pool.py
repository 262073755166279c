"""Jobs of one worker, from claim to finish."""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry
from temporalio.converter import DataConverter

from delegator import delegated
from delegator.contracts import collect_handlers
from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.pool import JobPool
from http_workers.slots import Slots
from tests.support.claims import claimed


class Finisher:
    backlog = 0

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def add(self, ended: Ended) -> None:
        self.ended.append(ended)


@pytest.mark.parametrize("begun", [False, True])
async def test_lost_lease_frees_slot(begun: bool) -> None:
    """A job whose lease is lost frees its slot and is released, even if its task has not begun."""
    runs = 0

    async def run(job: Job) -> Ended:
        nonlocal runs
        runs += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            return runner.broken_off(job, error)
        raise AssertionError

    metrics = WorkerMetrics(CollectorRegistry())
    runner: Any = AttemptRunner({}, Mock(), "default", metrics)
    runner.run = run
    slots, finisher = Slots(1), Finisher()
    jobs = JobPool(runner, TypeLimits({}), slots, metrics)
    assert await slots.reserve(1) == 1
    jobs.start(Job(claimed()), finisher)  # type: ignore[arg-type]
    if begun:
        await asyncio.sleep(0)
    jobs.lease_lost(1)
    async with asyncio.timeout(60):
        assert await slots.reserve(1) == 1
    assert (jobs.running, [ended.released for ended in finisher.ended], runs) == (set(), [True], int(begun))


@delegated
async def nothing() -> None: ...


async def test_finished_job_is_freed() -> None:
    """A finished job leaves memory without the garbage collector, which would take much of a busy worker's time."""
    metrics = WorkerMetrics(CollectorRegistry())
    runner = AttemptRunner(collect_handlers([nothing]), DataConverter.default, "default", metrics)
    slots, finisher = Slots(3), Finisher()
    jobs = JobPool(runner, TypeLimits({}), slots, metrics)
    for number in range(3):
        assert await slots.reserve(1) == 1
        jobs.start(Job(claimed(str(number), job_type="nothing")), finisher)  # type: ignore[arg-type]
    gc.disable()
    try:
        await asyncio.sleep(0.1)
        while finisher.ended:
            jobs.finished(finisher.ended.pop().job)
        # Not isinstance: other tests may leave objects of the workflow sandbox that refuse to be looked at.
        assert not [one for one in gc.get_objects() if type(one) is Job and one.job_type == "nothing"]
    finally:
        gc.enable()
