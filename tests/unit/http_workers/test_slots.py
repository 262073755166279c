"""Free slots."""

from __future__ import annotations

import asyncio

import pytest

from http_workers import slots as slots_module
from http_workers.slots import Slots


async def test_reserve():
    """A reservation gets at most the free slots, and waits while there is none."""
    slots = Slots(10)
    assert await slots.reserve(4) == 4
    assert await slots.reserve(100) == 6
    waiting = asyncio.create_task(slots.reserve(5))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    slots.release(2)
    assert await asyncio.wait_for(waiting, 60) == 2
    assert slots.total == 10


async def test_gather(monkeypatch: pytest.MonkeyPatch):
    """A reservation gathers slots that are released shortly after each other."""
    monkeypatch.setattr(
        slots_module, "_GATHER_SECONDS", 0.2
    )  # two milliseconds are less than a crowded machine may stand still
    slots = Slots(100)
    await slots.reserve(100)
    waiting = asyncio.create_task(slots.reserve(100))
    await asyncio.sleep(0)
    for _ in range(5):
        slots.release()
        await asyncio.sleep(0)
    assert await asyncio.wait_for(waiting, 60) == 5


async def test_two_reservations():
    """Two waiting reservations never get the same slot."""
    slots = Slots(4)
    await slots.reserve(4)
    waiting = [asyncio.create_task(slots.reserve(4)) for _ in range(2)]
    await asyncio.sleep(0.01)
    slots.release(4)
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [4] and len(pending) == 1
    slots.release(1)
    assert await asyncio.wait_for(pending.pop(), 1) == 1


async def test_release_nothing():
    """A release of no slots does not wake a waiting reservation."""
    slots = Slots(1)
    await slots.reserve(1)
    slots.release(0)
    waiting = asyncio.create_task(slots.reserve(1))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
