"""Group commit: items that arrive while a batch is written go into the next batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Merges concurrent submissions into batches. An idle batcher writes at once; a busy one merges.

    Use as an async context manager. Its exit waits for submissions that a caller still awaits.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        max_items: int,
        parallel: int = 1,
        gather: Callable[[], float] = lambda: 0.0,
        enough: int = 64,
    ) -> None:
        """Prepare a batcher.

        Args:
            flush: writes a batch and returns one result for each item. Every submitter of the batch gets its errors.
            max_items: largest number of items in a batch. A larger submission is written as one batch.
            parallel: largest number of batches that are written at a time.
            gather: returns for how many seconds a small batch may wait for more. It is called for each batch.
            enough: number of items with which a batch does not wait any more.
        """
        self._flush = flush
        self._max_items = max_items
        self._parallel = parallel
        self._gather = gather
        self._enough = enough
        self._waiting = 0
        self._progress_at = 0.0
        self._gathering: asyncio.Future[None] | None = None
        self._queue: deque[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()
        self._awaited: set[asyncio.Future[Sequence[Result]]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._awaited:
            await asyncio.wait(self._awaited)
        for writer in self._writers:
            writer.cancel()
        if self._writers:
            await asyncio.wait(self._writers)

    async def submit(self, items: Sequence[Item]) -> Sequence[Result]:
        """Write `items` with the next batch and return their results.

        Raises:
            Exception: what writing the batch raised.
        """
        if not items:
            return []
        if not self._awaited:
            self._progress_at = time.monotonic()
        future: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._awaited.add(future)
        future.add_done_callback(self._awaited.discard)
        self._queue.append((items, future))
        self._waiting += len(items)
        if self._gathering is not None:
            if self._waiting >= self._enough and not self._gathering.done():
                self._gathering.set_result(None)
        elif len(self._writers) < self._parallel:
            writer = asyncio.create_task(self._write_all())
            self._writers.add(writer)
        return await future

    @property
    def stalled_seconds(self) -> float:
        """How long callers have waited without the end of any batch; 0: none waits."""
        return time.monotonic() - self._progress_at if self._awaited else 0.0

    def give_up(self, error: Exception) -> None:
        """Cancel what is being written, forget what waits, and raise `error` for every caller.

        Args:
            error: what `submit` raises.
        """
        for future in list(self._awaited):
            if not future.done():
                future.set_exception(error)
        for writer in self._writers:
            writer.cancel()

    async def _more(self, pause_seconds: float) -> None:
        """Wait for more items, until there are enough or the time has passed."""
        self._gathering = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((self._gathering,), timeout=pause_seconds)
        finally:
            self._gathering = None

    async def _write_all(self) -> None:
        writer = asyncio.current_task()
        assert writer is not None
        try:
            await self._write()
        finally:
            # Not in a callback: a caller that gets this writer's last result may submit before callbacks run.
            self._writers.discard(writer)

    async def _write(self) -> None:
        while self._queue:
            if self._gathering is not None:
                return  # another writer gathers, and takes these items
            if self._waiting < self._enough and (pause := self._gather()):
                await self._more(pause)
            batch, parts = self._take()
            if not batch:
                continue
            try:
                results = await self._flush(batch)
            except Exception as error:
                for _, future in parts:
                    if not future.done():
                        future.set_exception(error)
                continue
            except BaseException:
                for _, future in parts:
                    future.cancel()
                raise
            finally:
                self._progress_at = time.monotonic()
            start = 0
            for count, future in parts:
                if not future.done():
                    future.set_result(results[start : start + count])
                start += count

    def _take(self) -> tuple[list[Item], list[tuple[int, asyncio.Future[Sequence[Result]]]]]:
        """Remove one batch from the queue. Return its items, and for each future its number of items."""
        batch: list[Item] = []
        parts: list[tuple[int, asyncio.Future[Sequence[Result]]]] = []
        while self._queue and (not batch or len(batch) + len(self._queue[0][0]) <= self._max_items):
            items, future = self._queue.popleft()
            self._waiting -= len(items)
            if not future.done():
                batch.extend(items)
                parts.append((len(items), future))
        return batch, parts
