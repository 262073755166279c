"""Mails and other messages that go out once, however often the job that sends them is run."""

from __future__ import annotations

import asyncio
import os
import smtplib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from temporalio.exceptions import ApplicationError

from delegator import current_job
from examples.database import database

SCHEMA = Path(__file__).with_suffix(".sql")
SMTP_PORT = "EXAMPLES_SMTP_PORT"
"""The environment variable that holds the port of the mail server."""
REFUSED = "MailRefused"
"""The type of the failure when the mail server refuses a mail for good."""

# A message has one sender at a time. A job that is repeated goes on with its own. What another job has left is free
# after a minute, which is longer than any server here may take.
_TAKE = """
INSERT INTO outgoing.mails AS old (key, recipient, sender) VALUES (%s, %s, %s)
ON CONFLICT (key) DO UPDATE SET sender = excluded.sender, taken_at = clock_timestamp()
WHERE old.sent_at IS NULL AND (
    old.sender IS NULL OR old.sender = excluded.sender OR old.taken_at < clock_timestamp() - interval '1 minute'
)
"""
_IS_SENT = "SELECT sent_at IS NOT NULL FROM outgoing.mails WHERE key = %s"
_RECORD = "UPDATE outgoing.mails SET sent_at = clock_timestamp() WHERE key = %s"
_FREE = "UPDATE outgoing.mails SET sender = NULL WHERE key = %s AND sender = %s"


async def mail_once(key: str, recipient: str, subject: str, text: str) -> bool:
    """Send a mail, unless the one with this key has gone out. For handlers.

    SMTP can't be exactly once. A worker that dies after the server's "250" and before the row's `sent_at` leaves a mail
    that the next attempt sends again. Its Message-ID is the same, so mailboxes and people can tell.

    Returns:
        Whether this call has sent it.

    Raises:
        ApplicationError: the server refuses the mail for good (5xx: not retryable) or for a while (4xx), or another job
            is sending it: the next attempt sees what came of that.
    """
    return await send_once(key, recipient, lambda: asyncio.to_thread(_send, key, recipient, subject, text))


async def send_once(key: str, recipient: str, send: Callable[[], Awaitable[None]]) -> bool:
    """Call `send`, which sends a message of any kind, unless the one with this key has gone out. See `mail_once`."""
    sender = current_job().job_id
    # Committed before the message: a row without `sent_at` says which ones may have gone out.
    if not await _execute(_TAKE, key, recipient, sender):
        async with database.get().connection() as connection:
            if await (await connection.execute(_IS_SENT, (key,))).fetchone() == (True,):
                return False
        raise ApplicationError("another job is sending it", type="BeingSent", next_retry_delay=timedelta(seconds=1))
    try:
        # It has no connection of the pool meanwhile: a slow server must not keep the other handlers from the database.
        await send()
    except Exception:
        await _execute(_FREE, key, sender)
        raise
    await _execute(_RECORD, key)
    return True


async def _execute(statement: str, *values: str) -> int:
    """Run a statement in a transaction of its own. Return how many rows it has changed."""
    async with database.get().connection() as connection:
        return (await connection.execute(statement.encode(), values)).rowcount


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
