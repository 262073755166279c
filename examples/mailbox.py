"""`python -m examples.mailbox`: a mail server that keeps what it takes in a table. It stands for the outside world."""

from __future__ import annotations

import asyncio
import email
import email.policy
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.database import connection, fetch_all
from examples.service import run_service

_TABLE = """
CREATE SCHEMA IF NOT EXISTS mailbox;
CREATE TABLE IF NOT EXISTS mailbox.mails (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
"""
_INSERT = "INSERT INTO mailbox.mails (message_id, recipient, subject, body) VALUES (%s, %s, %s, %s)"
_SLOW_SECONDS = 2


class Mailbox:
    """Takes mails. Senders to `busy@...` are told to come back, senders to `unknown@...` to give up.

    A mail to `slow@...` is kept at once and accepted late: time to kill its sender.
    """

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _: object) -> str:
        """Accept a recipient, or not (RFC 5321, 4.2.3)."""
        if address.startswith("busy@"):
            return "451 try again later"
        if address.startswith("unknown@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep a mail; only then is it accepted."""
        mail = email.message_from_bytes(bytes(envelope.original_content or b""), policy=email.policy.default)
        body = mail.get_body(("plain",))
        async with connection() as opened:
            for recipient in envelope.rcpt_tos:
                values = (mail["Message-ID"], recipient, mail["Subject"], body.get_content() if body else "")
                await opened.execute(_INSERT, values)
        if any(recipient.startswith("slow@") for recipient in envelope.rcpt_tos):
            await asyncio.sleep(_SLOW_SECONDS)
        return "250 OK"

    async def handle_exception(self, error: Exception) -> str:
        """Ask senders to come back while the table is away, as any mail server does whose disk is full."""
        logging.getLogger(__name__).warning("mail_not_kept", exc_info=error)
        return "451 local error"


async def subjects_of(address: str) -> list[str]:
    """Return the subjects of the mails that have come to an address, in the order in which they came.

    A mail whose sender died before it could record it may come twice, with the same Message-ID: that is one mail.
    """
    select = "SELECT subject FROM mailbox.mails WHERE recipient = %s GROUP BY message_id, subject ORDER BY min(id)"
    return [subject for (subject,) in await fetch_all(select, address)]


@asynccontextmanager
async def mailbox(port: int) -> AsyncIterator[None]:
    """Run the mail server."""
    async with connection() as opened, opened.transaction():
        await opened.execute("SELECT pg_advisory_xact_lock(hashtext('delegator examples'))")
        await opened.execute(_TABLE)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: SMTP(Mailbox(), enable_SMTPUTF8=True), "127.0.0.1", port):
        yield


if __name__ == "__main__":
    run_service(mailbox)
