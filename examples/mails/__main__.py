"""`python -m examples.mails [--day 2s]`: mails by a schedule through an outage, and by a workflow of a subscriber."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from temporalio.client import ScheduleBackfill, ScheduleOverlapPolicy

from examples.command import claim, run_example, until
from examples.database import execute
from examples.local import MAILBOX, Dispatch, Pool, System, add_dispatch, local_system
from examples.mailbox import subjects_of
from examples.mails import tasks
from examples.mails.workflow import Mailing, MailPeriod, SubscriberMails, Subscription, Terms
from examples.recurring import Rule, schedule_spec, start_schedule


def running_mails(dispatch: Dispatch = Dispatch.DELEGATED) -> AbstractAsyncContextManager[System]:
    """Run the mail server, the pool and the Temporal worker."""
    workflows = {"mails": [MailPeriod, SubscriberMails]}
    return local_system(Pool([tasks]), dispatch=dispatch, intercept=True, services=[MAILBOX], workflows=workflows)


async def main(day_seconds: int, dispatch: Dispatch) -> None:
    """Mail by a schedule and by a workflow."""
    run = uuid.uuid4().hex[:8]
    daily = Rule(day_seconds=day_seconds)
    terms = Terms(patience_seconds=10 * day_seconds, retry_seconds=1)
    async with running_mails(dispatch) as system:
        await by_schedule(system, run, daily, terms)
        await by_workflow(system, run, daily, terms)


async def by_schedule(system: System, run: str, daily: Rule, terms: Terms) -> None:
    """Mail two subscribers through an outage of the mail server; another one's mailbox does not exist."""
    ada, bo, gone = (f"{name}@{run}.example.org" for name in ("ada", "bo", "unknown"))
    mailing = Mailing(f"news-{run}", terms)
    await subscribe(mailing.name, ada, bo, gone)
    when, day = schedule_spec(daily), timedelta(days=1)
    schedule = await start_schedule(
        system.client, mailing.name, when, MailPeriod.run, mailing, task_queue="mails", catchup=day
    )
    print(f"schedule: every {daily.every} to {ada}, {bo} and {gone}")
    await until("the first mails", partial(has, 1, ada, bo))
    first = (await periods_of(ada))[0]
    await system.services[MAILBOX.module].stop()
    print("the mail server is down; the run of a period tries on, and the schedule skips the periods meanwhile")
    await asyncio.sleep(3 * daily.day_seconds)
    await system.services[MAILBOX.module].start()
    back = datetime.now(UTC)
    await until("a mail of a period after the outage", partial(has_since, ada, back))
    await schedule.pause(note="catch up")
    await until("the last run has ended", partial(has_since, bo, (last := (await periods_of(ada))[-1])))
    print(f"paused; backfilled from {first:%H:%M:%S} to {last:%H:%M:%S}")
    await schedule.backfill(ScheduleBackfill(first, last, overlap=ScheduleOverlapPolicy.ALLOW_ALL))
    due = periods(daily, first, last)
    await until("a mail of each period", partial(has, len(due), ada, bo))
    for address in (ada, bo):
        claim(await periods_of(address) == due, f"{address} got one mail for each of {len(due)} periods")
    claim(await periods_of(gone) == [], f"{gone} got none, and is no subscriber since the first 550")
    await schedule.delete()


async def by_workflow(system: System, run: str, daily: Rule, terms: Terms) -> None:
    """Let a subscriber change from monthly to daily mails, and leave."""
    cy = f"cy@{run}.example.org"
    await subscribe(f"letters-{run}", cy)
    monthly = Subscription(cy, replace(daily, frequency="monthly"), terms)
    handle = await system.client.start_workflow(SubscriberMails.run, monthly, id=f"mails-{cy}", task_queue="mails")
    await handle.signal(SubscriberMails.change, daily)
    print(f"workflow: {cy} changes from monthly to daily mails")
    await until("two mails", partial(has, 2, cy))
    await handle.signal(SubscriberMails.leave)
    left = datetime.now(UTC)
    print(f"{cy} leaves")
    await handle.result()
    got = await periods_of(cy)
    claim(got == periods(daily, got[0], got[-1]), f"{cy} got one mail for each of {len(got)} periods")
    claim(got[-1] <= left, f"{cy} got no mail of a period after that")


async def subscribe(mailing: str, *addresses: str) -> None:
    """Add subscribers. Each has his address as his id."""
    for address in addresses:
        insert = "INSERT INTO mails.subscribers (id, mailing, address) VALUES (%s, %s, %s)"
        await execute(insert, address, mailing, address)


async def periods_of(address: str) -> list[datetime]:
    """Return the periods of the mails that the mail server has taken for an address. A mail's subject names its own."""
    return sorted(datetime.fromisoformat(subject.rpartition(" ")[2]) for subject in await subjects_of(address))


async def has(count: int, *addresses: str) -> bool:
    """Return whether each address has so many mails."""
    return all([len(await periods_of(address)) >= count for address in addresses])


async def has_since(address: str, moment: datetime) -> bool:
    """Return whether an address has a mail of a period since a moment."""
    return any(period >= moment for period in await periods_of(address))


def periods(rule: Rule, first: datetime, last: datetime) -> list[datetime]:
    """Return all due moments from one to another."""
    every = rule.every or timedelta(days=1)
    return [first + number * every for number in range((last - first) // every + 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.mails", description=__doc__)
    add_dispatch(parser)
    parser.add_argument("--day", default="2s", help="the length of a day (default: 2s)")
    arguments = parser.parse_args()
    run_example(main(int(arguments.day.removesuffix("s")), arguments.dispatch))
