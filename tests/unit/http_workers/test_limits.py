"""Limits of one type in one worker."""

from __future__ import annotations

import asyncio
from typing import Any

from delegator.contracts import DelegatedType, Handler
from http_workers.limits import TypeLimits


def limits(**declared: Any) -> TypeLimits:
    async def function() -> None: ...

    types = (DelegatedType(name="limited", **declared), DelegatedType(name="free"))
    return TypeLimits({type_.name: Handler(type=type_, function=function, is_async=True) for type_ in types})


async def test_no_more_of_a_type_run_at_once_than_declared():
    held = limits(max_concurrent=2)
    running = most = 0

    async def run() -> None:
        nonlocal running, most
        async with held.permit("limited"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.timeout(5):
        await asyncio.gather(*(run() for _ in range(7)))
    assert most == 2


async def test_a_job_that_is_cancelled_while_it_waits_takes_no_permit():
    held = limits(max_concurrent=1)
    async with held.permit("limited"):
        waiting = asyncio.create_task(held.permit("limited").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1), held.permit("limited"):
        pass


async def test_starts_are_spaced_evenly():
    held = limits(max_per_second=50)
    loop = asyncio.get_running_loop()
    starts = []
    for _ in range(5):
        async with held.permit("limited"):
            starts.append(loop.time())
    assert starts[-1] - starts[0] >= 4 / 50 - 0.005


async def test_other_types_do_not_wait():
    held = limits(max_concurrent=1, max_per_second=0.001)
    assert (held.limited("limited"), held.limited("free")) == (True, False)
    async with held.permit("limited"), asyncio.timeout(1), held.permit("free"):
        pass
