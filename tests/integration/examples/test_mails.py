from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleOverlapPolicy, ScheduleState
from temporalio.worker import Worker

from delegator.dev import RunningStack
from examples.command import until
from examples.database import connection, fetch_value
from examples.local import System
from examples.mails.__main__ import has, periods, periods_of, running_mails, subscribe
from examples.mails.workflow import Mailing, MailPeriod, SubscriberMails, Subscription, Terms
from examples.recurring import Rule, next_due, schedule_spec, start_schedule

DUE = datetime(2026, 11, 30, 9, tzinfo=UTC)
DAILY = Rule(day_seconds=1)
TERMS = Terms(patience_seconds=60, retry_seconds=1)


@pytest.fixture(scope="module")
async def system(servers: RunningStack) -> AsyncIterator[System]:
    async with running_mails() as system:
        yield system


@pytest.fixture
def run() -> str:
    """A name that no other test has: a domain, a mailing and a prefix of ids."""
    return uuid.uuid4().hex[:8]


def mail(client: Client, mailing: Mailing, number: int = 0) -> asyncio.Task[dict[str, int]]:
    """Run a mailing for its period, as a schedule does."""
    name = f"mail-{mailing.name}-{number}"
    return asyncio.ensure_future(client.execute_workflow(MailPeriod.run, mailing, id=name, task_queue="mails"))


async def copies(address: str) -> list[str]:
    """Return the Message-IDs that came to an address."""
    async with connection() as opened:
        rows = await opened.execute("SELECT message_id FROM mailbox.mails WHERE recipient = %s", (address,))
        return [row[0] for row in await rows.fetchall()]


async def state_of(subscriber: str) -> object:
    return await fetch_value("SELECT state FROM mails.subscribers WHERE id = %s", subscriber)


async def test_command(run_command, servers: RunningStack) -> None:
    """The command, here with ordinary activities; the other tests delegate."""
    ended = await run_command("mails", "--day", "1s", "--dispatch", "classic")
    assert (ended.code, ended.errors) == (0, "")
    lines = ended.output.splitlines()
    assert len(lines) <= 25
    assert len([line for line in lines if line.startswith("proven: ")]) == 5


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        (Rule(zone="Europe/Berlin"), 3653),
        (Rule(zone="America/New_York", hour=2, minute=30), 3653),
        (Rule("weekly", "Europe/Berlin", day=7, hour=2, minute=30), 522),
        (Rule("monthly", "Pacific/Auckland", day=31), 120),
        (Rule("monthly", day=30), 120),
        (Rule("monthly", day=29), 120),
    ],
)
def test_ten_years(rule: Rule, count: int) -> None:
    """Each due day has one mail at its wall-clock time, except where the clocks leave that time out: an hour later."""
    zone = ZoneInfo(rule.zone)
    moment = datetime(2020, 1, 1, tzinfo=zone).astimezone(UTC)
    found: list[datetime] = []
    while (moment := next_due(rule, moment)) < datetime(2030, 1, 1, tzinfo=zone):
        found.append(moment.astimezone(zone))
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(3653)]
    if rule.frequency == "weekly":
        days = [day for day in days if day.isoweekday() == rule.day]
    if rule.frequency == "monthly":
        last = {(day.year, day.month): day for day in days}  # the later ones overwrite the earlier ones
        days = [min(end, end.replace(day=min(rule.day, end.day))) for end in last.values()]
    assert [due.date() for due in found] == days
    assert len(found) == count
    late = [due for due in found if (due.hour, due.minute) != (rule.hour, rule.minute)]
    assert all((due.hour, due.minute) == (rule.hour + 1, rule.minute) for due in late)
    springs = 10 if rule.hour == 2 else 0  # the clocks change on a Sunday, which is the day of the weekly rule
    assert len(late) == springs


@pytest.mark.parametrize(
    ("rule", "start"),
    [
        (Rule("monthly", "Europe/Berlin", day=31), datetime(2027, 12, 1, tzinfo=UTC)),  # with 29 February
        (Rule("monthly", day=30), datetime(2027, 1, 1, tzinfo=UTC)),
        (Rule("weekly", "Asia/Kolkata", day=7), datetime(2027, 1, 1, tzinfo=UTC)),
        (Rule(zone="Europe/Berlin"), datetime(2027, 3, 25, tzinfo=UTC)),
        (Rule(zone="America/New_York", hour=2, minute=30), datetime(2027, 3, 10, tzinfo=UTC)),
        (Rule(day_seconds=7), datetime(2027, 3, 10, tzinfo=UTC)),
    ],
)
async def test_schedule_agrees(system: System, run: str, rule: Rule, start: datetime) -> None:
    """Temporal computes the dates that the function does, but leaves out a time that the clocks leave out."""
    spec = replace(schedule_spec(rule), start_at=start)
    action = ScheduleActionStartWorkflow(MailPeriod.run, Mailing(run, TERMS), id=run, task_queue="nobody")
    schedule = await system.client.create_schedule(run, Schedule(action, spec, state=ScheduleState(paused=True)))
    theirs = (await schedule.describe()).info.next_action_times
    await schedule.delete()
    ours = [next_due(rule, start - timedelta(microseconds=1))]
    while len(ours) <= len(theirs):
        ours.append(next_due(rule, ours[-1]))
    skipped = [due for due in ours if rule.hour == 2 and due.astimezone(ZoneInfo(rule.zone)).hour == 3]
    assert len(theirs) == 10
    assert theirs == [due for due in ours if due not in skipped][:10]
    assert len(skipped) == (1 if rule.hour == 2 else 0)


async def test_refusals(system: System, run: str) -> None:
    """A mailbox that is busy (451) is tried as long as the terms say; one that does not exist (550) is tried once."""
    good, busy, unknown = (f"{name}@{run}.example.org" for name in ("good", "busy", "unknown"))
    await subscribe(run, good, busy, unknown)
    terms = replace(TERMS, patience_seconds=2)
    assert await mail(system.client, Mailing(run, terms, DUE)) == {"sent": 1, "failed": 1, "refused": 1}
    assert len(await copies(good)) == 1
    assert await copies(busy) == await copies(unknown) == []
    assert [await state_of(who) for who in (good, busy, unknown)] == ["active", "active", "refused"]
    assert await mail(system.client, Mailing(run, terms, DUE), 1) == {"sent before": 1, "failed": 1}


async def test_two_at_once(system: System, run: str) -> None:
    """Two runs for one period, as of a schedule and of a backfill, send one mail: the second waits for the first."""
    slow = f"slow@{run}.example.org"
    await subscribe(run, slow)
    both = await asyncio.gather(*(mail(system.client, Mailing(run, TERMS, DUE), number) for number in (1, 2)))
    assert sorted(next(iter(outcomes)) for outcomes in both) == ["sent", "sent before"]
    assert len(await copies(slow)) == 1


async def test_killed_after_the_mail(system: System, run: str) -> None:
    """A worker that dies after the server took the mail: it comes once more, with the same Message-ID."""
    slow = f"slow@{run}.example.org"
    await subscribe(run, slow)
    sending = mail(system.client, Mailing(run, TERMS, DUE))
    await until("the server has the mail", partial(has, 1, slow))
    await system.pools["default"].kill()
    await system.pools["default"].start()
    assert await sending == {"sent": 1}
    first, second = await copies(slow)
    assert first == second


async def test_outage_of_the_worker(system: System, run: str) -> None:
    """Three periods without a worker: one policy mails all of them later, the other one mails the first of them."""

    async def mailed(overlap: ScheduleOverlapPolicy) -> list[datetime]:
        name = f"{run}-{overlap.name}"
        ada = f"ada@{name}.example.org"
        await subscribe(name, ada)
        when, mailing = schedule_spec(DAILY), Mailing(name, TERMS)
        schedule = await start_schedule(
            system.client, name, when, MailPeriod.run, mailing, task_queue=name, overlap=overlap
        )

        async def has_missed_three() -> bool:
            info = (await schedule.describe()).raw_description.info
            return info.buffer_size >= 3 or info.overlap_skipped >= 3

        await until("three periods are over", has_missed_three)
        back = datetime.now(UTC)
        async with Worker(system.client, task_queue=name, workflows=[MailPeriod]):
            await until("a mail of a period after the outage", lambda: has_later(ada, back))
            await schedule.delete()
        return await periods_of(ada)

    skip, buffer = ScheduleOverlapPolicy.SKIP, ScheduleOverlapPolicy.BUFFER_ALL
    skipped, buffered = await asyncio.gather(mailed(skip), mailed(buffer))
    assert skipped[1] - skipped[0] >= timedelta(seconds=3)
    assert buffered == periods(DAILY, buffered[0], buffered[-1])
    assert len(buffered) > 3


@pytest.mark.parametrize("catches_up", [True, False])
async def test_subscriber_wakes_late(system: System, run: str, catches_up: bool) -> None:
    """A workflow that could not run for some periods: it sends their mails, or goes on after the first of them."""
    ada = f"ada@{run}.example.org"
    await subscribe(run, ada)
    now = datetime.now(UTC)
    due = next_due(DAILY, now - timedelta(seconds=5))
    start = Subscription(ada, DAILY, replace(TERMS, catches_up=catches_up), due)
    handle = await system.client.start_workflow(SubscriberMails.run, start, id=run, task_queue="mails")
    await until("a mail of a period to come", lambda: has_later(ada, now))
    await handle.signal(SubscriberMails.leave)
    sent, got = await handle.result(), await periods_of(ada)
    assert got[0] == due
    assert len(got) - sent in (0, 1)  # the last one may go out while its subscriber leaves
    if catches_up:
        assert got == periods(DAILY, due, got[-1])
    else:
        assert got[1] > now


async def test_change_and_continue_as_new(system: System, run: str) -> None:
    """A change that comes with the start counts, and no period is lost or mailed twice between two runs."""
    ada = f"ada@{run}.example.org"
    await subscribe(run, ada)
    start = Subscription(ada, Rule("monthly"), replace(TERMS, most_mails=1))
    handle = await system.client.start_workflow(
        SubscriberMails.run, start, id=run, task_queue="mails", start_signal="change", start_signal_args=[DAILY]
    )
    await until("three mails", partial(has, 3, ada))
    latest = system.client.get_workflow_handle_for(SubscriberMails.run, run)
    assert (await latest.query(SubscriberMails.next_mail) or DUE) > datetime.now(UTC) - timedelta(seconds=60)
    await latest.signal(SubscriberMails.leave)
    sent, got = await handle.result(), await periods_of(ada)
    assert got == periods(DAILY, got[0], got[-1])
    assert len(got) - sent in (0, 1)
    assert (await latest.describe()).run_id != handle.first_execution_run_id
    assert await state_of(ada) == "unsubscribed"


async def test_leave_at_once(system: System, run: str) -> None:
    """Who leaves does not wait for a mail that is tried again and again."""
    busy = f"busy@{run}.example.org"
    await subscribe(run, busy)
    start = Subscription(busy, DAILY, replace(TERMS, patience_seconds=3600))
    handle = await system.client.start_workflow(SubscriberMails.run, start, id=run, task_queue="mails")
    tried = "SELECT count(*) FROM outgoing.mails WHERE recipient = %s"

    async def is_tried() -> bool:
        return await fetch_value(tried, busy) == 1

    await until("the mail is tried", is_tried)
    await handle.signal(SubscriberMails.leave)
    assert await handle.result() == 0
    assert await state_of(busy) == "unsubscribed"


async def has_later(address: str, moment: datetime) -> bool:
    return any(period > moment for period in await periods_of(address))
