"""Cancellation that stops at a point, and cancellation that an error would hide."""

from __future__ import annotations

import asyncio
import gc

import pytest

from delegator.runtime.cancellation import cancel_requests, cancellable_until, raise_if_cancelled, run_apart
from delegator.runtime.exception_groups import unwrapped


class Run:
    """A run that ends in two steps."""

    def __init__(self) -> None:
        self.begun, self.over, self.closing, self.may_close = (asyncio.Event() for _ in range(4))
        self.is_closed = False

    async def run(self) -> None:
        try:
            self.begun.set()
            await self.over.wait()
        finally:
            self.over.set()
            self.closing.set()
            await self.may_close.wait()
            self.is_closed = True


async def test_cancelled_while_it_closes() -> None:
    """A cancellation after the event does not break off the run, and does not end the caller."""
    run = Run()
    task = asyncio.create_task(cancellable_until(run.over, run.run()))
    await run.begun.wait()
    run.over.set()
    await run.closing.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    run.may_close.set()
    await task
    assert run.is_closed


async def test_cancelled_before() -> None:
    """A cancellation before the event reaches the run, which then closes, and the caller."""
    run = Run()
    task = asyncio.create_task(cancellable_until(run.over, run.run()))
    await run.begun.wait()
    task.cancel()
    await run.closing.wait()
    task.cancel()
    run.may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.is_closed


async def test_error() -> None:
    """The caller gets the run's error."""

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await cancellable_until(asyncio.Event(), fails())


async def test_error_beside_a_cancellation() -> None:
    """A loop that goes on after errors ends, though its task group raised an error in place of the cancellation."""

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("the connection is lost")

    async def group_that_fails() -> None:
        with unwrapped():
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())

    errors: list[Exception] = []

    async def loop() -> None:
        while True:
            try:
                await run_apart(group_that_fails())
            except OSError as error:
                errors.append(error)

    running = asyncio.create_task(loop())
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()
    assert errors == []


async def test_cancellation_that_is_known() -> None:
    """A task that cleans up after a cancellation goes on until the next one."""
    known: list[bool] = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise_if_cancelled(cancel_requests())
            known.append(True)

    running = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert known == [True]


async def test_error_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    """A cancellation that comes when the coroutine has failed leaves no error for asyncio to report."""
    failing = asyncio.Event()

    async def fails() -> None:
        await failing.wait()
        raise ValueError("lost")

    for ticks in range(4):
        failing.clear()
        task = asyncio.create_task(run_apart(fails()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        failing.set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, ValueError)):
            await task
        del task
        gc.collect()
    assert caplog.records == []
