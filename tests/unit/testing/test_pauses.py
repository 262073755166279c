"""Pauses of types and queues without any server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from temporalio.exceptions import ActivityError, TimeoutError, TimeoutType

from delegator import delegated
from delegator.testing import InMemoryEngine, JobStatus
from tests.unit.testing import handlers
from tests.unit.testing.handlers import Point

MAY_FAIL = asyncio.Event()


@delegated
async def fail_once(attempt: int) -> int:
    await MAY_FAIL.wait()
    return await handlers.succeed_at(attempt)


@delegated(queue="mails")
async def mail(number: int) -> int:
    return number


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_deadline_stands_still():
    """A paused type's job waits beyond its deadline while others run. Of the deadline all is left after the pause."""
    limit = timedelta(milliseconds=50)
    async with InMemoryEngine([handlers]) as engine:
        engine.pause(handlers.mirror)
        waiting = asyncio.create_task(engine.run(handlers.mirror, Point(1, 2), schedule_to_close_timeout=limit))
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 0.1)
        assert await engine.run(handlers.succeed_at, 1) == 1
        (job,) = engine.jobs_of(handlers.mirror)
        assert (job.status, job.attempts) == (JobStatus.WAITING, ())
        engine.pause()  # as if the workers had gone: its deadline goes on
        engine.resume(handlers.mirror)
        with pytest.raises(ActivityError) as raised:
            await waiting
    assert isinstance(raised.value.cause, TimeoutError)
    assert raised.value.cause.type is TimeoutType.SCHEDULE_TO_START
    assert time.monotonic() - began > 0.15


async def test_fails_in_pause():
    """A job that runs when its type is paused goes on. If it fails, it is tried again when the pause ends."""
    MAY_FAIL.clear()
    async with InMemoryEngine([handlers, fail_once]) as engine:
        running = asyncio.create_task(engine.run(fail_once, 2))
        await until(lambda: any(job.status is JobStatus.RUNNING for job in engine.jobs))
        engine.pause("fail_once")
        MAY_FAIL.set()
        await until(lambda: len(engine.jobs[0].attempts) == 1)
        await until(lambda: engine.jobs[0].status is JobStatus.WAITING)
        assert await engine.run(handlers.succeed_at, 1) == 1
        assert len(engine.jobs_of("fail_once")[0].attempts) == 1
        engine.resume("fail_once")
        assert await running == 2


async def test_backs_off_in_pause():
    """The next attempt of a job that backed off is due when it would have been, and not when the pause ends."""
    MAY_FAIL.set()
    async with InMemoryEngine([handlers, fail_once], skip_retry_delays=False) as engine:
        running = asyncio.create_task(engine.run(fail_once, 2))
        await until(lambda: any(job.status is JobStatus.BACKING_OFF for job in engine.jobs))
        engine.pause(fail_once)
        assert engine.jobs[0].status is JobStatus.WAITING
        engine.resume(fail_once)
        assert engine.jobs[0].status is JobStatus.BACKING_OFF  # for a second
        engine.pause(fail_once)
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 1.1)
        engine.resume(fail_once)
        assert engine.jobs[0].status is JobStatus.RUNNING
        assert await running == 2


async def test_queue_and_type():
    """A job is free when neither its queue nor its type is paused; the engine that stops meanwhile keeps the pauses."""
    async with InMemoryEngine([mail]) as engine:
        engine.pause(queue="mails")
        engine.pause(mail)
        running = asyncio.create_task(engine.run(mail, 7))
        await until(lambda: bool(engine.jobs))
        engine.resume()
        engine.resume(queue="mails")
        assert engine.jobs[0].status is JobStatus.WAITING
        engine.resume(mail)
        assert await running == 7
