"""The sample's workflow: prices many orders, each in a job of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from temporalio import workflow

from delegator import delegate_map

with workflow.unsafe.imports_passed_through():
    from tasks import Order, price


@dataclass(frozen=True)
class Bill:
    """What all orders cost, and who priced them."""

    orders: int
    """Number of orders."""
    cents: int
    """Sum of their prices."""
    workers: dict[str, int]
    """How many orders each worker priced."""


@workflow.defn
class PriceOrders:
    """Prices the orders 0, 1, 2, ..."""

    @workflow.run
    async def run(self, orders: int, seconds: float) -> Bill:
        """Return the bill of this many orders, each of which takes so long."""
        prices = await delegate_map(price, [Order(number, seconds) for number in range(orders)])
        return Bill(
            orders=len(prices),
            cents=sum(each.cents for each in prices),
            workers=dict(Counter(each.worker for each in prices)),
        )
