"""The workflows that the outbox's tests start, signal and cancel."""

from __future__ import annotations

import asyncio

from temporalio import workflow


@workflow.defn
class Echo:
    """Ends at once with its arguments."""

    @workflow.run
    async def run(self, value: str, number: int = 0) -> list[str | int]:
        return [value, number]


@workflow.defn
class Mailbox:
    """Collects its signals until `close`."""

    def __init__(self) -> None:
        self._seen: list[int] = []
        self._closed = False

    @workflow.run
    async def run(self) -> list[int]:
        try:
            await workflow.wait_condition(lambda: self._closed)
        except asyncio.CancelledError:
            return [*self._seen, -1]
        return self._seen

    @workflow.signal
    def put(self, number: int) -> None:
        self._seen.append(number)

    @workflow.signal
    def close(self) -> None:
        self._closed = True


@workflow.defn
class Single:
    """Ends with its first signal."""

    def __init__(self) -> None:
        self._seen: int | None = None

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self._seen is not None)
        assert self._seen is not None
        return self._seen

    @workflow.signal
    def put(self, number: int) -> None:
        self._seen = number
