"""Handlers alone, in plain unit tests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType

from delegator import current_job, delegated, heartbeat
from delegator.errors import ConfigurationError
from delegator.testing import JobEnvironment, run_handler
from tests.unit.testing import handlers
from tests.unit.testing.handlers import Point


async def test_result():
    assert await run_handler(handlers.mirror, Point(1, 2)) == Point(2, 1)


async def test_thread():
    """A plain function runs in a thread, as in a worker, and can heartbeat there."""
    environment = JobEnvironment(job_id="job-7")
    assert await environment.run(handlers.in_thread, 3) == [False, "job-7"]
    assert environment.heartbeats == [("thread", 3)]


async def test_existing_activity():
    """A function with `@activity.defn` finds Temporal's activity context, too."""
    environment = JobEnvironment(job_id="job-7", attempt=3)
    assert await environment.run(handlers.existing, 5) == ["job-7", 3]
    assert environment.heartbeats == [("half", 5)]


async def test_own_exception():
    """The test gets the handler's exception itself, not a failure made of it."""
    with pytest.raises(handlers.CardRefusedError, match="card refused"):
        await run_handler(handlers.refuse_card)


async def test_wrong_argument():
    with pytest.raises(ApplicationError) as raised:
        await run_handler(handlers.mirror, "no point")  # type: ignore[arg-type]
    assert raised.value.message == "Failed decoding arguments"


async def test_unusable_result():
    with pytest.raises(ApplicationError, match="JSON"):
        await run_handler(handlers.unusable_result)


async def test_resumes():
    """The handler finds the last heartbeat details of the attempt before."""
    environment = JobEnvironment(attempt=2, heartbeat_details=[3])
    assert await environment.run(handlers.resume, 5) == 3
    assert environment.heartbeats == [(4,), (5,)]


async def test_attempt_times_out():
    with pytest.raises(TimeoutError) as raised:
        await run_handler(handlers.until_cancelled, False, start_to_close_timeout=timedelta(milliseconds=20))
    assert raised.value.type is TimeoutType.START_TO_CLOSE


async def test_silence_times_out():
    """The heartbeat timeout of the declared type applies, and its failure holds the last heartbeat details."""
    with pytest.raises(TimeoutError) as raised:
        await run_handler(handlers.silent)
    assert raised.value.type is TimeoutType.HEARTBEAT
    assert list(raised.value.last_heartbeat_details) == ["page", 12]


async def test_cancel():
    environment = JobEnvironment()
    running = asyncio.create_task(environment.run(handlers.until_cancelled))
    while not environment.heartbeats:
        await asyncio.sleep(0)
    environment.cancel()
    with pytest.raises(CancelledError):
        await running
    assert environment.heartbeats == [("started",), ("cleaned up", True)]


async def test_cancel_before():
    """A job that is canceled before its attempt begins is not run at all."""
    environment = JobEnvironment()
    environment.cancel()
    with pytest.raises(CancelledError):
        await environment.run(handlers.until_cancelled)
    assert environment.heartbeats == []


async def test_cancel_from_thread():
    """A plain function can ask for its cancellation, and Temporal's exception is thrown into its thread right after."""
    environment = JobEnvironment()

    @delegated
    def polls() -> None:
        heartbeat()
        while not current_job().is_cancel_requested():
            time.sleep(0.001)
        while True:
            time.sleep(0.001)

    running = asyncio.create_task(environment.run(polls))
    while not environment.heartbeats:
        await asyncio.sleep(0)
    thread = threading.Thread(target=environment.cancel)
    thread.start()
    with pytest.raises(CancelledError):
        await running
    thread.join()


async def test_cancel_activity():
    """A function with @activity.defn hears of its cancellation by its next heartbeat, unless its type asks for more."""
    gate = asyncio.Event()

    @activity.defn
    async def heartbeats_late() -> str:
        activity.heartbeat()
        await gate.wait()
        said = [activity.is_cancelled()]
        activity.heartbeat()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return str([*said, activity.is_cancelled(), activity.cancellation_details()])

    async def cancelled(function: Callable[[], Awaitable[str]]) -> str:
        environment = JobEnvironment()
        running = asyncio.create_task(environment.run(function))
        while not environment.heartbeats:
            await asyncio.sleep(0)
        environment.cancel()
        await asyncio.sleep(0)
        gate.set()
        return await running

    details = activity.ActivityCancellationDetails(cancel_requested=True)
    assert await cancelled(heartbeats_late) == str([False, True, details])
    gate.clear()
    with pytest.raises(CancelledError):
        await cancelled(delegated(interruptible=True)(heartbeats_late))


async def test_raise_complete_async():
    """What leaves an attempt to a client raises out of `run`, as in Temporal's ActivityEnvironment."""

    @delegated
    async def leaves() -> None:
        heartbeat(current_job().task_token)
        activity.raise_complete_async()

    environment = JobEnvironment()
    with pytest.raises(activity._CompleteAsyncError):
        await environment.run(leaves)
    assert environment.heartbeats[0][0].startswith(b"temporal-delegator:")


async def test_broken_off_thread():
    """A test that is broken off tells the handler's thread, so that the process can end."""
    ended = threading.Event()

    @delegated
    def loops() -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.05):
            await run_handler(loops)
    assert await asyncio.to_thread(ended.wait, 60)


async def test_timeout_of_test():
    """A test's own timeout reaches the test, not only the handler."""
    environment = JobEnvironment()
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.02):
            await environment.run(handlers.until_cancelled)
    assert environment.heartbeats[-1] == ("cleaned up", False)


async def test_job_outside_of_handler():
    """The handler's job is not visible in the test that runs the handler."""
    await run_handler(handlers.mirror, Point(1, 2))
    with pytest.raises(ConfigurationError, match="run_handler"):
        current_job()


async def test_contract_has_no_body():
    with pytest.raises(ConfigurationError, match="is a contract"):
        await run_handler(handlers.elsewhere, Point(1, 2))


async def test_undeclared_function():
    async def plain() -> None: ...

    with pytest.raises(ConfigurationError, match="@delegated"):
        await run_handler(plain)

    with pytest.raises(TypeError, match="start_to_clothes_timeout"):
        await run_handler(handlers.mirror, Point(1, 2), start_to_clothes_timeout=None)  # type: ignore[call-overload]


async def test_method():
    assert await run_handler(handlers.Emails("me").send, "hello") == "me: hello"
    with pytest.raises(ConfigurationError, match="needs an object"):
        await run_handler(handlers.Emails.send, "hello")


async def test_unedited_activity():
    environment = JobEnvironment()
    assert await environment.run(handlers.unedited, 4) == 8
    assert environment.heartbeats == [(4,)]


async def test_resource():
    shelf = [7]
    assert await run_handler(handlers.put, 8, provide={handlers.shelf: shelf}) == 2
    assert shelf == [7, 8]
    with pytest.raises(ConfigurationError, match="shelf is not open here"):
        await run_handler(handlers.put, 8)


async def test_bad_option():
    with pytest.raises(ConfigurationError, match="start_to_close_timeout must be positive"):
        await run_handler(handlers.mirror, Point(1, 2), start_to_close_timeout=timedelta(0))


async def test_a_thousand():
    for number in range(1_000):
        assert await run_handler(handlers.mirror, Point(number, 0)) == Point(0, number)
