"""Whole jobs without any server."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType

from delegator import current_job, delegated
from delegator.errors import ConfigurationError
from delegator.testing import AttemptStatus, InMemoryEngine, JobStatus
from tests.unit.testing import handlers
from tests.unit.testing.handlers import Point


async def failure(engine: InMemoryEngine, function: Any, *args: Any, **options: Any) -> ActivityError:
    with pytest.raises(ActivityError) as raised:
        await engine.run(function, *args, **options)
    return raised.value


async def test_result_and_record():
    async with InMemoryEngine([handlers]) as engine:
        assert await engine.run(handlers.mirror, Point(1, 2), job_id="mine") == Point(2, 1)
        (job,) = engine.jobs
    assert (job.job_id, job.job_type, job.args, job.result) == ("mine", "mirror", [Point(1, 2)], Point(2, 1))
    assert (job.status, job.error, len(job.attempts)) == (JobStatus.COMPLETED, None, 1)


async def test_retries_as_in_production():
    """Attempts, heartbeats and delays are those of production, but the test does not wait for the delays."""
    async with InMemoryEngine([handlers]) as engine:
        assert await engine.run(handlers.succeed_at, 3) == 3
        (job,) = engine.jobs_of(handlers.succeed_at)
    assert [attempt.status for attempt in job.attempts] == [AttemptStatus.FAILED] * 2 + [AttemptStatus.COMPLETED]
    assert [attempt.retry_delay for attempt in job.attempts] == [timedelta(seconds=1), timedelta(seconds=2), None]
    assert [attempt.heartbeats for attempt in job.attempts] == [((1,),), ((2,),), ()]
    assert str(job.attempts[0].error) == "NotYet: not yet"


async def test_failures_are_logged(caplog: pytest.LogCaptureFixture):
    """A test that hangs because a job is retried without end shows why, and where."""
    async with InMemoryEngine([handlers]) as engine:
        await engine.run(handlers.succeed_at, 3)
    first, second = caplog.messages
    assert first.startswith("attempt_failed: succeed_at, attempt 1: NotYet: not yet")
    assert 'raise ApplicationError("not yet"' in first
    assert second == "attempt_failed: succeed_at, attempt 2: NotYet: not yet"


async def test_attempts_exhausted():
    async with InMemoryEngine([handlers]) as engine:
        error = await failure(engine, handlers.succeed_at, 9)
        (job,) = engine.jobs
    assert error.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(error.cause, ApplicationError) and error.cause.type == "NotYet"
    assert (len(job.attempts), job.dead_letter, job.status) == (4, "attempts_exhausted", JobStatus.FAILED)


async def test_skipped_delays_count():
    """Skipped delays count for the deadline: 1, 2 and 4 s fit into 10 s, the next does not: four attempts."""
    async with InMemoryEngine([handlers]) as engine:
        error = await failure(engine, handlers.never_works)
        assert len(engine.jobs[0].attempts) == 4
    assert error.retry_state is RetryState.TIMEOUT


async def test_delays_can_be_real():
    async with InMemoryEngine([handlers], skip_retry_delays=False) as engine:
        error = await failure(engine, handlers.never_works, schedule_to_close_timeout=timedelta(milliseconds=200))
        assert len(engine.jobs[0].attempts) == 1, "the next one is a second away"
    assert error.retry_state is RetryState.TIMEOUT


async def test_timeout():
    async with InMemoryEngine([handlers]) as engine:
        error = await failure(engine, handlers.silent)
        assert [attempt.status for attempt in engine.jobs[0].attempts] == [AttemptStatus.TIMED_OUT] * 2
    assert isinstance(error.cause, TimeoutError) and error.cause.type is TimeoutType.HEARTBEAT


async def test_paused():
    """A job that is not taken times out as one that has not begun."""
    async with InMemoryEngine([handlers], paused=True) as engine:
        error = await failure(
            engine, handlers.mirror, Point(1, 2), schedule_to_start_timeout=timedelta(milliseconds=20)
        )
        assert isinstance(error.cause, TimeoutError) and error.cause.type is TimeoutType.SCHEDULE_TO_START
        running = asyncio.create_task(engine.run(handlers.mirror, Point(1, 2)))
        while len(engine.jobs) < 2:
            await asyncio.sleep(0)
        assert engine.jobs[1].status is JobStatus.WAITING
        engine.resume()
        assert await running == Point(2, 1)


async def test_type_limits():
    async with InMemoryEngine([handlers]) as engine:
        results = await asyncio.gather(*(engine.run(handlers.one_at_a_time, number) for number in range(5)))
    assert results == [[number] for number in range(5)]


async def test_fakes():
    """A fake may be given by function or by name; it may be async, plain or a mock, also for an undeclared type."""
    fakes: dict[Any, Any] = {
        handlers.mirror: AsyncMock(return_value=Point(9, 9)),
        "refuse_card": lambda: None,
        handlers.elsewhere: Mock(return_value=Point(7, 7)),
        "in_go": lambda number: number + 1,
    }
    async with InMemoryEngine([handlers], fakes=fakes) as engine:
        assert await engine.run(handlers.mirror, Point(1, 2)) == Point(9, 9)
        assert await engine.run(handlers.refuse_card) is None
        assert await engine.run(handlers.elsewhere, Point(1, 2)) == Point(7, 7)
        assert await engine.run("in_go", 4) == 5
    fakes[handlers.mirror].assert_awaited_once_with(Point(1, 2))
    fakes[handlers.elsewhere].assert_called_once_with(Point(1, 2))


async def test_fake_has_its_job():
    async def fake(point: Point) -> Point:
        if current_job().attempt == 1:
            raise ApplicationError("not yet")
        return point

    async with InMemoryEngine([handlers], fakes={handlers.mirror: fake}) as engine:
        assert await engine.run(handlers.mirror, Point(1, 2)) == Point(1, 2)


@pytest.mark.parametrize("fakes", [{handlers.mirror: 7}, {len: lambda: None}], ids=["no function", "undeclared"])
def test_bad_fake(fakes: Any):
    with pytest.raises(ConfigurationError):
        InMemoryEngine([handlers], fakes=fakes)


async def test_contract_needs_fake():
    async with InMemoryEngine([handlers]) as engine:
        error = await failure(engine, handlers.elsewhere, Point(1, 2))
        assert engine.jobs[0].dead_letter == "unknown_type"
    assert isinstance(error.cause, ApplicationError) and error.cause.type == "NotFoundError"


async def test_resources():
    """The engine opens and closes resources, unless the test provides their values."""
    async with InMemoryEngine([handlers]) as engine:
        assert [await engine.run(handlers.put, item) for item in (1, 2)] == [1, 2]
    shelf = [7]
    async with InMemoryEngine([handlers], provide={handlers.shelf: shelf}) as engine:
        assert await engine.run(handlers.put, 8) == 2
    assert shelf == [7, 8], "what is provided is not closed"


async def test_methods():
    async with InMemoryEngine([handlers.Emails("me")]) as engine:
        assert await engine.run(handlers.Emails.send, "hello") == "me: hello"


async def test_many_threads():
    """As many plain functions run at once as in a worker, whatever the machine has."""
    barrier = threading.Barrier(60, timeout=20)

    @delegated
    def meets(number: int) -> int:
        barrier.wait()
        return number

    async with InMemoryEngine([meets]) as engine:
        assert sum(await asyncio.gather(*(engine.run(meets, 1) for _ in range(60)))) == 60


async def test_end_breaks_off():
    async with InMemoryEngine([handlers]) as engine:
        running = asyncio.create_task(engine.run(handlers.until_cancelled, True))
        while not engine.jobs:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    (job,) = engine.jobs
    assert (job.status, [attempt.status for attempt in job.attempts]) == (JobStatus.WAITING, [AttemptStatus.RELEASED])
    running.cancel()
    await asyncio.wait([running])


async def test_not_running():
    with pytest.raises(ConfigurationError, match="does not run"):
        await InMemoryEngine([handlers]).run(handlers.mirror, Point(1, 2))


async def test_clear():
    async with InMemoryEngine([handlers]) as engine:
        await engine.run(handlers.mirror, Point(1, 2))
        engine.clear()
        assert engine.jobs == []
