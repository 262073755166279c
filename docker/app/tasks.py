"""The sample's job. Put your own handlers here, or build an image of your own on the engine's."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from datetime import timedelta

from delegator import delegated


@dataclass(frozen=True)
class Order:
    """What is to be priced."""

    number: int
    """Number of the order."""
    seconds: float
    """How long pricing takes."""


@dataclass(frozen=True)
class Priced:
    """A price, and which worker found it."""

    cents: int
    """The price."""
    worker: str
    """Host name of the container that ran the job."""


@delegated(queue="orders", start_to_close_timeout=timedelta(seconds=30))
async def price(order: Order) -> Priced:
    """Price one order."""
    await asyncio.sleep(order.seconds)
    return Priced(cents=order.number * 3, worker=socket.gethostname())
