"""The workflow of the chaos tests: every way to delegate."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from delegator import delegate, delegate_map

with workflow.unsafe.imports_passed_through():
    import tests.chaos.tasks as tasks
    from tests.chaos.tasks import Item

WAYS = ("delegate", "delegate_map", "execute_activity")
HANDLERS = {"work": tasks.work, "block": tasks.block, "crawl": tasks.crawl}
_ONCE_MORE = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)
_NOT_OFFERED_AGAIN = RetryPolicy(non_retryable_error_types=["NotFoundError"])


@dataclass
class Order:
    """What a workflow is given."""

    way: str
    handler: str
    items: list[Item]
    one_by_one: int = 0
    """How many of the items are done one after the other, before the rest at once."""


@workflow.defn
class Chaos:
    """Does its items, and returns their answers in order."""

    @workflow.run
    async def run(self, order: Order) -> list[Any]:
        handler = HANDLERS[order.handler]
        results: list[Any] = []
        for item in order.items[: order.one_by_one]:
            results += await self.do(order.way, handler, [item])
        return results + await self.do(order.way, handler, order.items[order.one_by_one :])

    @staticmethod
    async def do(way: str, handler: Any, items: list[Item]) -> list[Any]:
        match way:
            case "delegate":
                return list(await asyncio.gather(*(delegate(handler, item) for item in items)))
            case "delegate_map":
                return await delegate_map(handler, items)
            case "execute_activity":
                calls = (
                    workflow.execute_activity(handler, item, start_to_close_timeout=timedelta(minutes=2))
                    for item in items
                )
                return list(await asyncio.gather(*calls))
        raise AssertionError(way)


@workflow.defn
class Poisoned:
    """Bad jobs among good ones; tells how each of the bad ones ended."""

    @workflow.run
    async def run(self, bad: list[Item], good: list[Item]) -> list[Any]:
        results = await asyncio.gather(*map(self.try_, bad), *(delegate(tasks.work, item) for item in good))
        return list(results)

    @staticmethod
    async def try_(item: Item) -> Any:
        try:
            if item.kind == "undecodable":
                return await delegate("work", "this is no item", retry_policy=_ONCE_MORE)
            if item.kind == "wrong arguments":
                return await delegate("work", "not", 1, "argument", retry_policy=_ONCE_MORE)
            if item.kind == "unknown type":
                return await delegate("nobody knows it", item, retry_policy=_NOT_OFFERED_AGAIN)
            return await delegate(tasks.fail, item, retry_policy=_ONCE_MORE if item.kind != "flaky" else None)
        except ActivityError as error:
            return type(error.cause).__name__
