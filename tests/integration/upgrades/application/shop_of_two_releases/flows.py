"""Workflows that both releases run."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from delegator import delegate, delegate_map

with workflow.unsafe.imports_passed_through():
    from shop_of_two_releases.tasks import Item, work


@workflow.defn
class Order:
    """One job after the other, many at once, one that is retried, and one whose outcome comes inline or by a signal."""

    @workflow.run
    async def run(self, longest_ms: int) -> list[int]:
        order = workflow.info().workflow_id
        results = [await delegate(work, Item(order, number)) for number in range(2)]
        results += await delegate_map(work, [Item(order, number) for number in range(2, 12)])
        results += await asyncio.gather(
            delegate(work, Item(order, 12, ms=longest_ms)), delegate(work, Item(order, 13, fails_once=True))
        )
        return results


@workflow.defn
class Crossing:
    """Lives through the whole upgrade: it does a job for each signal, whichever release runs it then."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended = False

    @workflow.run
    async def run(self) -> list[int]:
        order = workflow.info().workflow_id
        results: list[int] = []
        while not self.ended or len(results) < self.asked:
            await workflow.wait_condition(lambda: self.ended or len(results) < self.asked)
            if len(results) < self.asked:
                results.append(await delegate(work, Item(order, len(results), ms=100)))
        return results

    @workflow.signal
    def one_more(self) -> None:
        self.asked += 1

    @workflow.signal
    def end(self) -> None:
        self.ended = True
