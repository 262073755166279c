"""The jobs: ask the billing service, remind, and give or take access."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import aiohttp

from delegator import current_job, delegated, heartbeat, resource
from examples.database import database
from examples.outgoing import mail_once
from examples.renewals.contracts import Payment

BILLING_PORT = "RENEWALS_BILLING_PORT"
LONGEST_POLL_SECONDS = 300
_ADDRESS = "SELECT address FROM renewals.accounts WHERE subscription = %s"
_SET_ACCESS = "UPDATE renewals.accounts SET has_access = %s, version = %s WHERE subscription = %s AND version < %s"


@resource
async def billing() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the billing service."""
    url = f"http://127.0.0.1:{os.environ[BILLING_PORT]}"
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(url, timeout=timeout, raise_for_status=True) as session:
        yield session


@delegated
async def payments_of(subscription: str) -> list[Payment]:
    """Ask once. If the service fails, the queue repeats the job, later and later."""
    async with billing.get().get(f"/{subscription}") as answer:
        return [Payment(**payment) for payment in await answer.json()]


@delegated
async def wait_for_payment(subscription: str, known: list[str], interval_seconds: int) -> list[Payment]:
    """Ask again and again in one job, and return what is new, or nothing after some minutes.

    The heartbeats tell a worker that waits from one that is dead, and bring cancellation.
    """
    failures, left = 0, LONGEST_POLL_SECONDS // interval_seconds
    while left > 0:
        left -= 1
        try:
            new = [payment for payment in await payments_of(subscription) if payment.id not in known]
        except (aiohttp.ClientError, TimeoutError):
            current_job().logger.warning("billing_failed", extra={"failures": (failures := failures + 1)})
        else:
            failures = 0
            if new:
                return new
        heartbeat()
        # Jitter: thousands of subscriptions would otherwise ask in the same moment after an outage.
        await asyncio.sleep(interval_seconds * 2 ** min(failures, 5) * random.uniform(0.9, 1.1))
    return []


@delegated
async def remind(subscription: str, end: str, days: int) -> None:
    """Mail once how many days are left until an end."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_ADDRESS, (subscription,))).fetchone()
    if row is not None:
        await mail_once(f"{subscription}:{end}:{days}", row[0], f"{days} days left", f"It ends at {end}.")


@delegated
async def set_access(subscription: str, is_granted: bool, version: int) -> None:
    """Give or take access."""
    async with database.get().connection() as connection:
        await connection.execute(_SET_ACCESS, (is_granted, version, subscription, version))
