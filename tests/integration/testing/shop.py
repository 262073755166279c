"""An application with a workflow, to be tested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from delegator import contract, current_job, delegate, delegate_map, delegated, heartbeat, resource


@delegated(retry_policy=RetryPolicy(maximum_attempts=5))
async def charge(order: str) -> str:
    if current_job().attempt < 3:
        raise ApplicationError("the bank is busy", type="BankBusy")
    return f"receipt of {order}"


@delegated
async def send_mail(text: str) -> None:
    raise AssertionError("no mail in a test")


@delegated
async def pack(item: int) -> int:
    return item


@delegated
async def ship(order: str) -> None:
    heartbeat("waits for the van")
    await asyncio.Event().wait()


@delegated
async def in_activity() -> bool:
    return activity.in_activity()


@resource
async def shelf() -> AsyncIterator[list[str]]:
    yield []


@delegated
async def put(item: str) -> None:
    shelf.get().append(item)


@activity.defn
async def count() -> int:
    return len(shelf.get())


@contract()
async def weigh(items: list[int]) -> float: ...


@workflow.defn
class Order:
    """Charges, packs, sends a mail."""

    @workflow.run
    async def run(self, order: str) -> str:
        receipt = await delegate(charge, order)
        items = await delegate_map(pack, range(3))
        try:
            await delegate(send_mail, f"{receipt}: {items}, {await delegate(weigh, items)} kg")
        except ActivityError as error:
            return f"no mail: {error.cause}"
        return receipt


@workflow.defn
class DropIn:
    """An ordinary activity call."""

    @workflow.run
    async def run(self, order: str) -> str:
        return await workflow.execute_activity(charge, order, start_to_close_timeout=timedelta(seconds=30))


@workflow.defn
class Shipping:
    """Ships until it is told to stop."""

    @workflow.init
    def __init__(self, order: str) -> None:
        self.shipment = asyncio.create_task(delegate(ship, order))

    @workflow.run
    async def run(self, order: str) -> str:
        try:
            await self.shipment
        except ActivityError:
            return "stopped"
        return "shipped"

    @workflow.signal
    def stop(self) -> None:
        self.shipment.cancel()


@workflow.defn
class Asking:
    """Asks where its handler runs."""

    @workflow.run
    async def run(self) -> bool:
        return await delegate(in_activity)


@workflow.defn
class Shelving:
    """Puts by a job, counts by an activity."""

    @workflow.run
    async def run(self, item: str) -> int:
        await delegate(put, item)
        return await workflow.execute_activity(count, start_to_close_timeout=timedelta(seconds=30))


@workflow.defn
class Packing:
    """Packs one item."""

    @workflow.run
    async def run(self, item: int) -> int:
        return await delegate(pack, item)
