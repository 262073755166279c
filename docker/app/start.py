"""`python start.py [ORDERS [SECONDS]]`: starts the sample's workflow and prints its bill as JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import uuid

from workflows import PriceOrders

from delegator import connect


async def main(orders: int = 200, seconds: float = 0.05) -> None:
    """Run the workflow."""
    client = await connect()
    bill = await client.execute_workflow(
        PriceOrders.run, args=[orders, seconds], id=f"orders-{uuid.uuid4()}", task_queue="orders"
    )
    print(json.dumps(dataclasses.asdict(bill)))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:2]), *map(float, sys.argv[2:3])))
