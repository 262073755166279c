"""Mails and other messages that go out once, however often the job that sends them is run."""

from __future__ import annotations

import asyncio
import os
import smtplib
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from temporalio.exceptions import ApplicationError

from examples.database import database

SCHEMA = Path(__file__).with_suffix(".sql")
SMTP_PORT = "EXAMPLES_SMTP_PORT"
"""The environment variable that holds the port of the mail server."""
REFUSED = "MailRefused"
"""The type of the failure when the mail server refuses a mail for good."""

_INTEND = "INSERT INTO outgoing.mails (key, recipient) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_LOCK = "SELECT sent_at IS NOT NULL FROM outgoing.mails WHERE key = %s FOR UPDATE"
_RECORD = "UPDATE outgoing.mails SET sent_at = clock_timestamp() WHERE key = %s"


async def mail_once(key: str, recipient: str, subject: str, text: str) -> bool:
    """Send a mail, unless the one with this key has gone out. For handlers.

    SMTP can't be exactly once. A worker that dies after the server's "250" and before the row's `sent_at` leaves a mail
    that the next attempt sends again. Its Message-ID is the same, so mailboxes and people can tell.

    Returns:
        Whether this call has sent it.

    Raises:
        ApplicationError: the server refuses the mail for good (5xx: not retryable) or for a while (4xx).
    """
    return await send_once(key, recipient, lambda: asyncio.to_thread(_send, key, recipient, subject, text))


async def send_once(key: str, recipient: str, send: Callable[[], Awaitable[None]]) -> bool:
    """Call `send`, which sends a message of any kind, unless the one with this key has gone out. See `mail_once`."""
    pool = database.get()
    async with pool.connection() as connection:
        # Committed before the message: a row without `sent_at` says which ones may have gone out.
        await connection.execute(_INTEND, (key, recipient))
    async with pool.connection() as connection:
        # The row stays locked until the message is recorded: a second job with this key waits, and sends nothing.
        if await (await connection.execute(_LOCK, (key,))).fetchone() == (True,):
            return False
        await send()
        await connection.execute(_RECORD, (key,))
    return True


def _send(key: str, recipient: str, subject: str, text: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "robot@example.org", recipient, subject
    mail["Message-ID"] = f"<{uuid5(NAMESPACE_URL, key)}@example.org>"
    mail.set_content(text)
    try:
        with smtplib.SMTP("127.0.0.1", int(os.environ[SMTP_PORT]), timeout=10) as server:
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        ((code, words),) = refused.recipients.values()
        raise _failure(code, words) from None
    except smtplib.SMTPResponseException as refused:
        raise _failure(refused.smtp_code, refused.smtp_error) from None


def _failure(code: int, words: bytes | str) -> ApplicationError:
    # The first digit decides (RFC 5321, 4.2.1): 4 is a failure for a while, 5 one for good.
    said = words.decode(errors="replace") if isinstance(words, bytes) else words
    return ApplicationError(f"the mail server answered {code} {said}", type=REFUSED, non_retryable=code >= 500)
