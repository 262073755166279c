"""Limits of one type in one worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from delegator.contracts import DelegatedType, Handler
from http_workers.limits import TypeLimits


def limits(most_waiting: int = 99, **declared: Any) -> TypeLimits:
    async def function() -> None: ...

    types = (DelegatedType(name="limited", **declared), DelegatedType(name="free"))
    handlers = {type_.name: Handler(type=type_, function=function, is_async=True) for type_ in types}
    return TypeLimits(handlers, most_waiting)


async def test_max_concurrent():
    """At most `max_concurrent` jobs of a type run at once."""
    held = limits(max_concurrent=2)
    running = most = 0

    async def run() -> None:
        nonlocal running, most
        assert held.admit("limited") is None
        async with held.permit("limited"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(run() for _ in range(7)))
    assert most == 2


async def test_cancelled_wait():
    """A job that is cancelled while it waits for a permit takes none."""
    held = limits(most_waiting=0, max_concurrent=1)
    assert held.admit("limited") is None
    async with held.permit("limited"):
        held._most_waiting = 1
        assert held.admit("limited") is None
        waiting = asyncio.create_task(held.permit("limited").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        held._most_waiting = 0
    assert held.admit("limited") is None
    async with asyncio.timeout(60), held.permit("limited"):
        pass


async def test_max_per_second():
    """The starts of a type with a rate are spread evenly over each second."""
    held = limits(max_per_second=50)
    loop = asyncio.get_running_loop()
    starts = []
    for _ in range(5):
        assert held.admit("limited") is None
        async with held.permit("limited"):
            starts.append(loop.time())
    assert starts[-1] - starts[0] >= 4 / 50 - 0.005


def test_unlimited_type():
    """A type without limits is not limited by those of another type."""
    held = limits(max_concurrent=1)
    assert (held.limited("limited"), held.limited("free")) == (True, False)


async def test_snoozed_turns():
    """Jobs that may not wait in a slot are snoozed, each a little longer than the one before."""
    held = limits(most_waiting=2, max_concurrent=2)
    assert [held.admit("limited") for _ in range(4)] == [None] * 4
    turns = [held.admit("limited") for _ in range(400)]
    seconds = [turn.total_seconds() for turn in turns if turn is not None]
    assert len(seconds) == 400
    assert seconds[:10] == sorted(seconds[:10]) and seconds[9] - seconds[0] >= 4
    assert timedelta(seconds=1) <= timedelta(seconds=min(seconds)) <= timedelta(seconds=max(seconds)) <= timedelta(60)


async def test_rate_snoozes():
    """A job above the rate is snoozed when it may not wait in a slot."""
    held = limits(most_waiting=0, max_per_second=0.5)
    assert held.admit("limited") is None
    snooze = held.admit("limited")
    assert snooze is not None and snooze >= timedelta(seconds=1)


async def test_waiting_is_shared():
    """A type whose backlog waits in slots leaves a share of the waiting places to another limited type."""

    async def function() -> None: ...

    types = [DelegatedType(name=name, max_concurrent=1) for name in ("crowded", "other")]
    handlers = {type_.name: Handler(type=type_, function=function, is_async=True) for type_ in types}
    held = TypeLimits(handlers, most_waiting=10)
    assert sum(held.admit("crowded") is None for _ in range(100)) == 11
    assert sum(held.admit("other") is None for _ in range(100)) == 6
