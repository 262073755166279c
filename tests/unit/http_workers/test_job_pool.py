"""Jobs of one worker, from claim to finish."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry
from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter

from delegator import delegated
from delegator.contracts import collect_handlers
from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.job_pool import JobPool
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.slots import Slots
from tests.support.claims import claimed

GATES: dict[str, threading.Event] = {}


class Finisher:
    backlog = 0

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def add(self, ended: Ended) -> None:
        self.ended.append(ended)


async def test_any_error_frees_slot() -> None:
    """Whatever the attempt itself raises, a converter's SystemExit for one, the job fails and its slot is free."""

    async def run(job: Job) -> Ended:
        raise SystemExit(3)

    metrics = WorkerMetrics(CollectorRegistry())
    runner: Any = AttemptRunner({}, Mock(), "default", metrics)
    runner.run = run
    slots, finisher = Slots(1), Finisher()
    pool = JobPool(runner, TypeLimits({}), slots, metrics)
    await slots.reserve(1)
    pool.start(Job(claimed()), finisher)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        await slots.reserve(1)
    (ended,) = finisher.ended
    assert ended.failure is not None and ended.failure.application_failure_info.type == "SystemExit"


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
def waits(gate: str) -> str:
    GATES[gate].wait(60)
    return gate


def in_threads(threads: ThreadPoolExecutor, slots: Slots) -> tuple[JobPool, Finisher]:
    metrics = WorkerMetrics(CollectorRegistry())
    runner = AttemptRunner(collect_handlers([waits]), DataConverter.default, "default", metrics, threads)
    return JobPool(runner, TypeLimits({}), slots, metrics), Finisher()


def waiting_job(gate: str, **options: int) -> Job:
    GATES[gate] = threading.Event()
    data = Payloads(payloads=DataConverter.default.payload_converter.to_payloads([gate])).SerializeToString()
    return Job(claimed(gate, job_type="waits", input=data, options=json.dumps(options)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_clock_starts_with_the_thread() -> None:
    """A job that waits for a thread longer than its start-to-close timeout does not time out."""
    with ThreadPoolExecutor(1) as threads:
        jobs, finisher = in_threads(threads, Slots(2))
        first, second = waiting_job("first"), waiting_job("second", start_to_close_ms=500)
        GATES["second"].set()
        jobs.start(first, finisher)  # type: ignore[arg-type]
        jobs.start(second, finisher)  # type: ignore[arg-type]
        await until(lambda: second.taken_at and time.monotonic() - second.taken_at > 0.6)
        assert first.started_at and not second.started_at
        GATES["first"].set()
        await until(lambda: len(finisher.ended) == 2)
        assert all(ended.result is not None for ended in finisher.ended)


async def test_thread_keeps_its_slot() -> None:
    """A plain function that runs on after its attempt keeps its slot, because it keeps its thread."""
    with ThreadPoolExecutor(1) as threads:
        slots = Slots(1)
        jobs, finisher = in_threads(threads, slots)
        assert await slots.reserve(1) == 1
        job = waiting_job("stuck", start_to_close_ms=10)
        jobs.start(job, finisher)  # type: ignore[arg-type]
        await until(lambda: bool(finisher.ended))
        assert finisher.ended[0].failure is not None
        assert finisher.ended[0].failure.HasField("timeout_failure_info")
        reserving = asyncio.create_task(slots.reserve(1))
        await asyncio.sleep(0.1)
        assert not reserving.done()
        GATES["stuck"].set()
        assert await asyncio.wait_for(reserving, 60) == 1


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
