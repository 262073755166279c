"""Submissions of several callers are written in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from delegator.runtime.batching import Batcher


class Writer:
    """Records batches; each waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [item * 2 for item in items]


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_idle_batcher():
    """A batcher that writes nothing writes a submission at once."""
    writer = Writer()
    async with Batcher(writer, max_items=10) as batcher:
        assert await batcher.submit([1, 2]) == [2, 4]
        assert await batcher.submit([]) == []
    assert writer.batches == [[1, 2]]


async def test_repeated_submissions():
    """A caller can submit again after it has its result."""
    writer = Writer()
    async with Batcher(writer, max_items=10) as batcher, asyncio.timeout(60):
        assert [await batcher.submit([number]) for number in range(3)] == [[0], [2], [4]]


async def test_next_batch():
    """Submissions that come while a batch is written go together into the next batch."""
    writer = Writer()
    async with Batcher(writer, max_items=4) as batcher:
        writer.gate.clear()
        first = asyncio.create_task(batcher.submit([1]))
        await let_run()
        others = [asyncio.create_task(batcher.submit([n, n])) for n in (2, 3, 4)]
        await let_run()
        assert writer.batches == [[1]]
        writer.gate.set()
        assert await first == [2]
        assert await asyncio.gather(*others) == [[4, 4], [6, 6], [8, 8]]
    assert writer.batches == [[1], [2, 2, 3, 3], [4, 4]]


async def test_large_submission():
    """A submission that is larger than a batch is written whole."""
    writer = Writer()
    async with Batcher(writer, max_items=2) as batcher:
        assert await batcher.submit([1, 2, 3]) == [2, 4, 6]
    assert writer.batches == [[1, 2, 3]]


async def test_parallel_writes():
    """At most `parallel` batches are written at once."""
    writer = Writer()
    async with Batcher(writer, max_items=1, parallel=2) as batcher:
        writer.gate.clear()
        tasks = [asyncio.create_task(batcher.submit([n])) for n in range(4)]
        await let_run()
        assert writer.batches == [[0], [1]]
        writer.gate.set()
        assert await asyncio.gather(*tasks) == [[0], [2], [4], [6]]


async def test_error_of_a_batch():
    """The error of a batch reaches each of its submitters, and no other."""
    writer = Writer()
    async with Batcher(writer, max_items=10) as batcher:
        writer.gate.clear()
        first = asyncio.create_task(batcher.submit([1]))
        await let_run()
        second, third = (asyncio.create_task(batcher.submit([n])) for n in (2, 3))
        await let_run()
        writer.error = ValueError("refused")
        writer.gate.set()
        for task in (first, second, third):
            with pytest.raises(ValueError, match="refused"):
                await task
        writer.error = None
        assert await batcher.submit([4]) == [8]


async def test_cancelled_submission():
    """A submission that is cancelled before its batch is written is left out."""
    writer = Writer()
    async with Batcher(writer, max_items=10) as batcher:
        writer.gate.clear()
        first = asyncio.create_task(batcher.submit([1]))
        await let_run()
        second, third = (asyncio.create_task(batcher.submit([n])) for n in (2, 3))
        await let_run()
        second.cancel()
        first.cancel()
        await let_run()
        writer.gate.set()
        assert await third == [6]
    assert writer.batches == [[1], [3]]


async def test_exit_waits():
    """The end of the block waits for submissions that a caller awaits."""
    writer = Writer()
    writer.gate.clear()
    async with Batcher(writer, max_items=10) as batcher:
        task = asyncio.create_task(batcher.submit([1]))
        await let_run()
        asyncio.get_running_loop().call_later(0.01, writer.gate.set)
    assert task.done() and task.result() == [2]


async def test_exit_without_callers():
    """The end of the block does not wait for a cancelled submission: a database outage must not delay a stop."""
    writer = Writer()
    writer.gate.clear()
    async with asyncio.timeout(60):
        async with Batcher(writer, max_items=10) as batcher:
            task = asyncio.create_task(batcher.submit([1]))
            await let_run()
            task.cancel()
    assert task.cancelled()


async def test_gather():
    """Submissions within the gather time go into one batch, which is written after that time."""
    writer = Writer()
    async with Batcher(writer, max_items=10, parallel=2, gather=lambda: 0.05) as batcher:
        loop = asyncio.get_running_loop()
        began = loop.time()
        calls = [asyncio.create_task(batcher.submit([number])) for number in (1, 2)]
        await let_run()
        calls.append(asyncio.create_task(batcher.submit([3])))
        await asyncio.gather(*calls)
        assert loop.time() - began >= 0.04
    assert writer.batches == [[1, 2, 3]]


async def test_gather_enough():
    """A batch with enough items is written before the gather time ends."""
    writer = Writer()
    async with Batcher(writer, max_items=10, gather=lambda: 600.0, enough=3) as batcher:
        few = asyncio.create_task(batcher.submit([1]))
        await let_run()
        async with asyncio.timeout(60):
            assert await batcher.submit([2, 3]) == [4, 6]
            assert await few == [2]
            assert await batcher.submit([4, 5, 6]) == [8, 10, 12]
    assert writer.batches == [[1, 2, 3], [4, 5, 6]]


async def test_give_up():
    """Callers are sent away; what they gave is not written any more."""
    writer = Writer()
    writer.gate.clear()
    written: list[int] = []

    async def write(items: list[int]) -> Sequence[int]:
        results = await writer(items)
        written.extend(items)
        return results

    async with Batcher(write, max_items=1) as batcher:
        assert batcher.stalled_seconds == 0.0
        waiting = [asyncio.create_task(batcher.submit([number])) for number in (1, 2)]
        await let_run()
        await asyncio.sleep(0.001)
        assert batcher.stalled_seconds > 0.0
        batcher.give_up(RuntimeError("no"))
        assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["no", "no"]
        assert batcher.stalled_seconds == 0.0
        last = asyncio.create_task(batcher.submit([3]))
        await let_run()
        writer.gate.set()
        assert await last == [6]
    assert written == [3]
