"""Group commit."""

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


async def test_an_idle_batcher_writes_at_once():
    writer = Writer()
    async with Batcher(writer, max_items=10) as batcher:
        assert await batcher.submit([1, 2]) == [2, 4]
        assert await batcher.submit([]) == []
    assert writer.batches == [[1, 2]]


async def test_who_submits_when_he_has_his_result_is_served():
    writer = Writer()
    async with Batcher(writer, max_items=10) as batcher, asyncio.timeout(60):
        assert [await batcher.submit([number]) for number in range(3)] == [[0], [2], [4]]


async def test_what_comes_while_one_is_written_goes_with_the_next():
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


async def test_a_single_submission_larger_than_a_batch_travels_whole():
    writer = Writer()
    async with Batcher(writer, max_items=2) as batcher:
        assert await batcher.submit([1, 2, 3]) == [2, 4, 6]
    assert writer.batches == [[1, 2, 3]]


async def test_several_writers_and_no_more():
    writer = Writer()
    async with Batcher(writer, max_items=1, parallel=2) as batcher:
        writer.gate.clear()
        tasks = [asyncio.create_task(batcher.submit([n])) for n in range(4)]
        await let_run()
        assert writer.batches == [[0], [1]]
        writer.gate.set()
        assert await asyncio.gather(*tasks) == [[0], [2], [4], [6]]


async def test_an_error_reaches_every_submitter_of_its_batch_only():
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


async def test_a_submission_that_was_given_up_is_not_written():
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


async def test_leaving_waits_for_what_somebody_awaits():
    writer = Writer()
    writer.gate.clear()
    async with Batcher(writer, max_items=10) as batcher:
        task = asyncio.create_task(batcher.submit([1]))
        await let_run()
        asyncio.get_running_loop().call_later(0.01, writer.gate.set)
    assert task.done() and task.result() == [2]


async def test_leaving_does_not_wait_for_what_nobody_awaits():
    """A database that stays away must not keep a worker from stopping."""
    writer = Writer()
    writer.gate.clear()
    async with asyncio.timeout(60):
        async with Batcher(writer, max_items=10) as batcher:
            task = asyncio.create_task(batcher.submit([1]))
            await let_run()
            task.cancel()
    assert task.cancelled()


async def test_what_gathers_goes_together_and_waits_no_longer_than_it_is_told():
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


async def test_enough_items_gather_no_longer():
    writer = Writer()
    async with Batcher(writer, max_items=10, gather=lambda: 600.0, enough=3) as batcher:
        few = asyncio.create_task(batcher.submit([1]))
        await let_run()
        async with asyncio.timeout(60):
            assert await batcher.submit([2, 3]) == [4, 6]
            assert await few == [2]
            assert await batcher.submit([4, 5, 6]) == [8, 10, 12]
    assert writer.batches == [[1, 2, 3], [4, 5, 6]]
