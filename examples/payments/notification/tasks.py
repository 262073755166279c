"""The notification service's jobs: one mail and one text message for each final outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from delegator import implements, resource
from examples.database import database as database  # what sends once needs it: the worker opens a module's resources
from examples.outgoing import mail_once, send_once
from examples.payments import contracts
from examples.payments.contracts import Notice
from examples.service import setting


@resource
async def sms_gateway() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the SMS gateway, which the mock provider plays too."""
    url = setting("PAYMENTS_PROVIDER_URL")
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


@implements(contracts.send_email)
async def send_email(notice: Notice) -> None:
    """Send a mail."""
    await mail_once(notice.key, notice.recipient, notice.subject, notice.text)


@implements(contracts.send_sms)
async def send_sms(notice: Notice) -> None:
    """Send a text message. The gateway knows idempotency keys, so a repetition is harmless."""

    async def send() -> None:
        body = {"phone": notice.recipient, "text": notice.text}
        async with sms_gateway.get().post("/sms", json=body, headers={"Idempotency-Key": notice.key}) as response:
            response.raise_for_status()

    await send_once(notice.key, notice.recipient, send)
