"""The places of a pool that queues share."""

from __future__ import annotations

import asyncio

import pytest
from psycopg_pool import PoolTimeout

from delegator.postgres.shares import Places

SOON = 0.01


async def waits(places: Places, queue: str) -> asyncio.Task[bool]:
    waiting = asyncio.create_task(places.take(queue, 60.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


async def test_own_place() -> None:
    """A queue that uses all common places leaves each other queue its own."""
    places = Places(common=2)
    assert [await places.take("a", SOON) for _ in range(3)] == [True, False, False]
    with pytest.raises(PoolTimeout, match="queue 'a'"):
        await places.take("a", SOON)
    assert await places.take("b", SOON)
    with pytest.raises(PoolTimeout, match="queue 'b'"):
        await places.take("b", SOON)


async def test_turns() -> None:
    """Queues take turns at a common place. An own place stays within its queue."""
    places = Places(common=1)
    assert await places.take("a", SOON)
    assert await places.take("b", SOON)
    assert not await places.take("a", SOON)
    first, second, other = await waits(places, "a"), await waits(places, "a"), await waits(places, "b")
    places.give_back("a", is_own=False)
    assert not await first
    places.give_back("a", is_own=False)
    assert not await other
    assert not second.done()
    places.give_back("a", is_own=True)
    assert await second


async def test_given_up() -> None:
    """Who gives up leaves nothing behind, also if the place comes at the same moment."""
    places = Places(common=0)
    assert await places.take("a", SOON)
    gone, late = await waits(places, "a"), await waits(places, "a")
    gone.cancel()
    await asyncio.wait([gone])
    places.give_back("a", is_own=True)
    late.cancel()
    await asyncio.wait([late])
    assert late.cancelled()
    assert await places.take("a", SOON)
    places.give_back("a", is_own=True)
    assert await places.take("a", SOON)
