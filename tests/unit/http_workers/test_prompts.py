"""Heartbeats of activity tasks go to Temporal at once, and then not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast
from unittest.mock import Mock

import pytest
from temporalio.service import RPCError, RPCStatusCode

from delegator.contracts import JobOptions
from http_workers import prompts
from http_workers.activity_tasks import ActivityTasks
from http_workers.job import Job
from http_workers.prompts import Prompts
from tests.support.claims import claimed

ENOUGH = 4


class Temporal:
    """Takes heartbeats; the task of `ended` waits no more."""

    def __init__(self) -> None:
        self.beats: list[str] = []
        self.ended: set[str] = set()
        self.is_away = False

    async def heartbeat(self, job: Job) -> bool:
        self.beats.append(job.job_id)
        if self.is_away:
            self.is_away = False
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        return job.job_id not in self.ended

    async def has(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.beats) < count:
                await asyncio.sleep(0.001)


def running(job_id: str = "a", timeout: timedelta | None = None) -> Job:
    job = Job(claimed(job_id, task_token=b"token"))
    job.options = JobOptions(heartbeat_timeout=timeout)
    job.task = asyncio.current_task()
    return job


@asynccontextmanager
async def noting(temporal: Temporal) -> AsyncIterator[Prompts]:
    notices = Prompts()
    serving = asyncio.create_task(notices.run(Mock(), Mock(), cast(ActivityTasks, temporal)))
    yield notices
    serving.cancel()
    await asyncio.wait([serving])


async def beat(notices: Prompts, job: Job) -> None:
    """Heartbeat as a plain function does, in a thread."""
    job.details_changed = True
    await asyncio.to_thread(notices.heartbeat, job)


async def test_first_at_once(monkeypatch: pytest.MonkeyPatch):
    """The first heartbeat is sent at once, and those that follow wait for the end of the pause."""
    monkeypatch.setattr(prompts, "_LONGEST_INTERVAL_SECONDS", 1_000.0)
    temporal = Temporal()
    async with noting(temporal) as notices:
        first = running()
        await beat(notices, first)
        await temporal.has(1)
        await beat(notices, first)
        await beat(notices, running("b"))
        await temporal.has(2)
        assert temporal.beats == ["a", "b"] and first.details_changed


async def test_short_timeout():
    """The pause is shorter than the heartbeat timeout. What Temporal did not take is sent again."""
    temporal = Temporal()
    async with noting(temporal) as notices:
        job = running(timeout=timedelta(milliseconds=10))
        temporal.is_away = True
        await beat(notices, job)
        await temporal.has(2)
        for count in range(3, ENOUGH):
            await beat(notices, job)
            await temporal.has(count)


async def test_ended_task():
    """A handler whose task has ended elsewhere is told. One that has ended itself sends nothing."""
    temporal = Temporal()
    temporal.ended.add("a")
    async with noting(temporal) as notices:
        over = running("over")
        over.task = None
        await beat(notices, over)
        told = running()
        told.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        told.begun = True
        await beat(notices, told)
        await asyncio.wait([told.task])
        assert told.task.cancelled() and told.cancel_told and temporal.beats == ["a"]
