"""The notification service's jobs: one mail and one text message for each final outcome."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import EmailMessage

import aiohttp
from temporalio.exceptions import ApplicationError

from delegator import implements, resource
from examples.database import database
from examples.payments import contracts
from examples.payments.contracts import Notice
from examples.payments.service import setting


@resource
async def sms_gateway() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the SMS gateway, which the mock provider plays too."""
    url = setting("PAYMENTS_PROVIDER_URL")
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


@implements(contracts.send_email)
async def send_email(notice: Notice) -> None:
    """Send a mail.

    SMTP can't be exactly once: a worker that dies between the server's "250" and the row's `sent_at` sends the mail
    again. Its Message-ID is the same, so mailboxes and people can tell.
    """
    await _once(notice, lambda: asyncio.to_thread(_send_mail, notice))


@implements(contracts.send_sms)
async def send_sms(notice: Notice) -> None:
    """Send a text message. The gateway knows idempotency keys, so a repetition is harmless."""
    await _once(notice, lambda: _send_text(notice))


async def _once(notice: Notice, send: Callable[[], Awaitable[None]]) -> None:
    pool = database.get()
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO payments_notification.messages (key, recipient, text) VALUES (%s, %s, %s)"
            " ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING sent_at IS NOT NULL",
            (notice.key, notice.recipient, notice.text),
        )
        if await cursor.fetchone() == (True,):
            return
    await send()
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE payments_notification.messages SET sent_at = now() WHERE key = %s", (notice.key,)
        )


def _send_mail(notice: Notice) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "payments@example.com", notice.recipient, "Your payment"
    mail["Message-ID"] = f"<{notice.key.replace(':', '.')}@payments.example.com>"
    mail.set_content(notice.text)
    try:
        with smtplib.SMTP("127.0.0.1", int(setting("PAYMENTS_SMTP_PORT")), timeout=5) as server:
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        ((code, words),) = refused.recipients.values()
        raise ApplicationError(
            f"the mail server answered {code} {words.decode(errors='replace')}",
            type="MailRefused",
            non_retryable=code >= 550,
        ) from None


async def _send_text(notice: Notice) -> None:
    body = {"phone": notice.recipient, "text": notice.text}
    async with sms_gateway.get().post("/sms", json=body, headers={"Idempotency-Key": notice.key}) as response:
        response.raise_for_status()
