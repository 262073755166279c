"""Cancellation that stops at a point."""

from __future__ import annotations

import asyncio

import pytest

from delegator.runtime.cancellation import cancellable_until


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
