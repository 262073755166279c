"""Jobs of one worker, from claim to finish."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.pool import JobPool
from http_workers.slots import Slots

NAMES = ("namespace", "workflow_id", "run_id", "task_token", "input", "header", "options", "enqueued_at")


class Finisher:
    backlog = 0

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def add(self, ended: Ended) -> None:
        self.ended.append(ended)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_whose_lease_is_lost_frees_its_slot(begun: bool) -> None:
    """Also one that has not begun: a task that is cancelled before its first step runs nothing at all."""
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
    record = dict.fromkeys(NAMES) | {"job_id": "a", "job_type": "t", "lease_token": 1, "attempt": 0}
    jobs.start(Job(record), finisher)  # type: ignore[arg-type]
    if begun:
        await asyncio.sleep(0)
    jobs.lease_lost(1)
    async with asyncio.timeout(5):
        assert await slots.reserve(1) == 1
    assert (jobs.running, [ended.released for ended in finisher.ended], runs) == (set(), [True], int(begun))
