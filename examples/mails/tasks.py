"""The jobs: find subscribers, send a mail, compute the next date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.database import database
from examples.outgoing import REFUSED, mail_once
from examples.recurring import Rule, next_due

PAGE = 500
"""Subscribers that are mailed at once."""
Outcome = Literal["sent", "sent before", "not subscribed", "refused"]

_PAGE = """
SELECT id FROM mails.subscribers WHERE mailing = %s AND id > %s AND state = 'active' ORDER BY id LIMIT %s
"""
_ADDRESS = "SELECT address FROM mails.subscribers WHERE id = %s AND state = 'active'"
_LEAVE = "UPDATE mails.subscribers SET state = %s WHERE id = %s AND state = 'active'"


@dataclass(frozen=True)
class Mail:
    """A mail of one subscriber and one period. It holds no address: addresses are no business of a history."""

    subscriber: str
    due: datetime

    @property
    def key(self) -> str:
        """What it is known by, whoever sends it: a schedule, a backfill, or a workflow of the subscriber."""
        return f"{self.subscriber}:{self.due.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"


@delegated
async def page_of(mailing: str, after: str) -> list[str]:
    """Return the next subscribers, in the order of their ids."""
    async with database.get().connection() as connection:
        rows = await (await connection.execute(_PAGE, (mailing, after, PAGE))).fetchall()
    return [row[0] for row in rows]


@delegated
async def send_mail(mail: Mail) -> Outcome:
    """Send it once. A subscriber whose mailbox does not exist gets no more mails."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_ADDRESS, (mail.subscriber,))).fetchone()
    if row is None:
        return "not subscribed"
    try:
        is_sent = await mail_once(mail.key, row[0], f"News of {mail.due.isoformat()}", "Nothing is new.")
    except ApplicationError as failed:
        if failed.type != REFUSED or not failed.non_retryable:
            raise
        await _leave(mail.subscriber, "refused")
        return "refused"
    return "sent" if is_sent else "sent before"


@delegated
async def next_date(rule: Rule, after: datetime) -> datetime:
    """Return when a mail is due next.

    It is a job because the rules of time zones change, and come with the machine. A replay must find what was computed.
    """
    return next_due(rule, after)


@delegated
async def unsubscribe(subscriber: str) -> None:
    """Send no more mails to a subscriber."""
    await _leave(subscriber, "unsubscribed")


async def _leave(subscriber: str, state: str) -> None:
    async with database.get().connection() as connection:
        await connection.execute(_LEAVE, (state, subscriber))
