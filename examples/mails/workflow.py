"""Two ways to mail again and again: a schedule starts a run for each period, or each subscriber has a workflow.

Take a schedule when many get the same at the same time: a run mails them all, and operators pause it and catch up with
`backfill`. Take a workflow for each subscriber when each has times of his own and changes them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError

from examples.jobs import run_job

with workflow.unsafe.imports_passed_through():
    from examples.mails.tasks import Mail, next_date, page_of, send_mail, unsubscribe
    from examples.recurring import Rule

_SCHEDULED = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@dataclass(frozen=True)
class Terms:
    """What holds for each mail."""

    patience_seconds: int = 6 * 3600
    """How long a mail is tried. It is shorter than a period: one full mailbox must not hold up the next period."""
    retry_seconds: int = 60
    """How long the first repetition waits; each next one waits twice as long."""
    most_mails: int = 1_000
    """After so many mails of one subscriber his workflow continues as new."""
    catches_up: bool = True
    """Whether a subscriber gets the mails of an outage, or only the first of them."""


@dataclass(frozen=True)
class Mailing:
    """What goes to many subscribers, and how far a run has come when it continues as new."""

    name: str
    terms: Terms
    due: datetime | None = None
    after: str = ""
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Subscription:
    """What goes to one subscriber, and how far a run has come."""

    subscriber: str
    rule: Rule
    terms: Terms
    due: datetime | None = None
    sent: int = 0


@workflow.defn
class MailPeriod:
    """Mails a whole mailing for one period. A schedule starts it."""

    @workflow.run
    async def run(self, mailing: Mailing) -> dict[str, int]:
        """Mail, page after page, and return how often there was which outcome."""
        # When the run was due, not when it began. A late run and a backfill thus have the same period.
        due = mailing.due or workflow.info().typed_search_attributes.get(_SCHEDULED)
        if due is None:
            raise ApplicationError("only a schedule starts this workflow without `due`", non_retryable=True)
        outcomes, after = Counter(mailing.outcomes), mailing.after
        while page := await run_job(page_of, mailing.name, after):
            # All mails of a page travel in one local activity, and a mail that fails stops no other.
            outcomes.update(await asyncio.gather(*(_send(Mail(who, due), mailing.terms) for who in page)))
            after = page[-1]
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(replace(mailing, due=due, after=after, outcomes=dict(outcomes)))
        return dict(outcomes)


@workflow.defn
class SubscriberMails:
    """Mails one subscriber until he leaves."""

    @workflow.init
    def __init__(self, start: Subscription) -> None:
        self._now = start  # the signals change it, and they may come before `run`
        self._has_left = False

    @workflow.run
    async def run(self, start: Subscription) -> int:
        """Sleep, mail, and so on; return how many mails there were."""
        mails = 0
        while not self._has_left:
            due = self._now.due
            if due is None:
                await self._plan(workflow.now())
            elif workflow.now() < due:
                with suppress(TimeoutError):
                    changed = lambda: self._has_left or self._now.due != due  # noqa: E731, B023
                    await workflow.wait_condition(changed, timeout=due - workflow.now())
            elif mails >= start.terms.most_mails or workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(self._now)
            else:
                mails += 1
                await self._mail(due)
        await run_job(unsubscribe, start.subscriber)
        return self._now.sent

    @workflow.signal
    def change(self, rule: Rule) -> None:
        """Mail at other times from now on."""
        self._now = replace(self._now, rule=rule, due=None)

    @workflow.signal
    def leave(self) -> None:
        """Send no more mails, at once."""
        self._has_left = True

    @workflow.query
    def next_mail(self) -> datetime | None:
        """Return when the next mail is due; None: that is being computed, or there is none."""
        return None if self._has_left else self._now.due

    async def _plan(self, after: datetime) -> None:
        rule = self._now.rule
        due = await run_job(next_date, rule, after)
        if self._now.rule is rule:  # else it has been changed meanwhile
            self._now = replace(self._now, due=due)

    async def _mail(self, due: datetime) -> None:
        """Send the mail of a period and plan the next one, counted from when this one was due: so nothing drifts."""
        terms = self._now.terms
        sending = asyncio.create_task(_send(Mail(self._now.subscriber, due), terms))
        await workflow.wait_condition(lambda: self._has_left or sending.done())
        sending.cancel()  # who has left does not wait until a mail's patience ends
        outcome = await sending
        self._now = replace(self._now, sent=self._now.sent + (outcome == "sent"))
        self._has_left = self._has_left or outcome in ("refused", "not subscribed")
        if self._now.due == due:
            await self._plan(due if terms.catches_up else max(due, workflow.now()))


async def _send(mail: Mail, terms: Terms) -> str:
    patience, retry = timedelta(seconds=terms.patience_seconds), timedelta(seconds=terms.retry_seconds)
    policy = RetryPolicy(initial_interval=retry)
    try:
        return str(await run_job(send_mail, mail, schedule_to_close_timeout=patience, retry_policy=policy))
    except ActivityError:
        return "failed"  # the mail has been tried for as long as its terms say
