from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import pytest
from aiohttp import ClientSession
from temporalio.client import Client
from temporalio.worker import Replayer, Worker

from delegator import DelegatorPlugin, PluginOptions
from delegator.dev import RunningStack
from examples.command import until
from examples.database import connection, fetch_value
from examples.local import System
from examples.renewals import tasks
from examples.renewals.__main__ import (
    BILLING,
    SHORT,
    begin,
    has_access,
    pay,
    reminders_of,
    running_renewals,
    status_of,
)
from examples.renewals.contracts import Payment, Status
from examples.renewals.workflow import KeepSubscription

YEAR = replace(SHORT, day_seconds=86_400)


@pytest.fixture(scope="module")
async def system(servers: RunningStack) -> AsyncIterator[System]:
    async with running_renewals() as system:
        yield system


@pytest.fixture
def name() -> str:
    """A subscription that no other test has."""
    return f"sub-{uuid.uuid4().hex[:8]}"


async def has(client: Client, name: str, holds: Callable[[Status], bool]) -> None:
    async def condition() -> bool:
        return holds(await status_of(client, name))

    await until("the subscription's status", condition)


async def test_command(run_command, servers: RunningStack) -> None:
    """The command, here with ordinary activities; the other tests delegate."""
    ended = await run_command("renewals", "--dispatch", "classic")
    assert (ended.code, ended.errors) == (0, "")
    lines = ended.output.splitlines()
    assert len(lines) <= 25
    assert len([line for line in lines if line.startswith("proven: ")]) == 6


@pytest.mark.parametrize("timers_from_seconds", [60, 0])
async def test_polling(system: System, name: str, timers_from_seconds: int) -> None:
    """A job that waits, and timers with a job for each question, find a payment although the service fails first."""
    async with ClientSession(system.services[BILLING.module].url) as session:
        await (await session.post("/failures/2")).release()
    terms = replace(YEAR, timers_from_seconds=timers_from_seconds)
    await begin(system.client, name, 2, terms)
    await has(system.client, name, lambda status: status.days_left == 2)
    await pay(name, 365)
    await has(system.client, name, lambda status: status.days_left == 367)
    assert await has_access(name)
    assert await reminders_of(name) == [7], "the one that was due when the subscription began"
    await system.client.get_workflow_handle(name).terminate()


async def test_killed_while_polling(system: System, name: str) -> None:
    """The pool dies with the job that waits: the next one goes on waiting."""
    await begin(system.client, name, 30, YEAR)
    attempt = "SELECT max(attempt) FROM custom_task_queue WHERE workflow_id = %s AND job_type = 'wait_for_payment'"

    async def is_attempt(number: int) -> bool:
        return await fetch_value(attempt, name) == number

    await until("the job waits", partial(is_attempt, 1))
    await system.pools["default"].kill()
    await system.pools["default"].start()
    await pay(name, 365)
    await has(system.client, name, lambda status: status.days_left == 395)
    await system.client.get_workflow_handle(name).terminate()


async def test_payment_counts_once(system: System, name: str) -> None:
    """A payment that comes twice by signal and once by polling moves the end once, by exactly what was paid for."""
    handle = await begin(system.client, name, 30, YEAR)
    payment, latest = await pay(name, 365), system.client.get_workflow_handle(name)
    for one in (payment, payment, Payment("other", 1)):
        await latest.signal(KeepSubscription.renew, one)
    await has(system.client, name, lambda status: status.days_left == 396)

    async def is_new_run() -> bool:
        return (await latest.describe()).run_id != handle.first_execution_run_id

    await until("a payment begins a new run", is_new_run)
    assert (await status_of(system.client, name)).days_left == 396
    await latest.terminate()


@pytest.mark.parametrize("first", ["payment", "expiry"])
async def test_payment_and_expiry_at_once(system: System, name: str, first: str) -> None:
    """A payment and the expiry in one task of the workflow: the payment counts, in whichever order they came."""
    terms = replace(SHORT, reminders=(), grace_days=0, interval_seconds=3600)
    handle = await begin(system.client, name, 2, terms, task_queue=name)
    payment = Payment(str(uuid.uuid4()), 10**6)
    worker = partial(Worker, system.client, task_queue=name, workflows=[KeepSubscription])
    async with worker():
        await until("the subscription has begun", partial(has_access, name))
        assert (await handle.query(KeepSubscription.status)).state == "active"
    if first == "payment":
        await handle.signal(KeepSubscription.renew, payment)

    async def has_expired() -> bool:
        events = [event async for event in handle.fetch_history_events()]
        timers = [event.timer_started_event_attributes.start_to_fire_timeout.ToSeconds() for event in events]
        fired = [event for event in events if event.HasField("timer_fired_event_attributes")]
        return bool(fired) and any(0 < seconds < 60 for seconds in timers)

    await until("the timer fires", has_expired)
    if first == "expiry":
        await handle.signal(KeepSubscription.renew, payment)
    async with worker():
        await has(system.client, name, lambda status: status.days_left > 900_000)
        assert await has_access(name)
        assert await fetch_value("SELECT version FROM renewals.accounts WHERE subscription = %s", name) in (1, 2)
        await system.client.get_workflow_handle(name).terminate()
    options = PluginOptions(intercept=True, patch=False, task_queues={"default": "default"})
    replayer = Replayer(workflows=[KeepSubscription], plugins=[DelegatorPlugin([tasks], options=options)])
    await replayer.replay_workflow(await handle.fetch_history())


async def test_late(system: System, name: str) -> None:
    """After an outage over all reminders only the last one is sent, and it is sent before the expiry."""
    handle = await begin(system.client, name, 0, replace(SHORT, grace_days=2))
    assert (await handle.result()).state == "expired"
    assert await reminders_of(name) == [0]
    assert not await has_access(name)


async def test_payment_stops_reminder(system: System, name: str) -> None:
    """A reminder that the mail server puts off is given up when the payment comes."""
    await begin(system.client, name, 2, YEAR)
    async with connection() as opened:
        update = "UPDATE renewals.accounts SET address = %s WHERE subscription = %s"
        await opened.execute(update, (f"busy@{name}.example.org", name))
    await system.client.get_workflow_handle(name).signal(KeepSubscription.renew, Payment("p", 365))
    await has(system.client, name, lambda status: status.days_left == 367)
    assert await reminders_of(name) == []
    await system.client.get_workflow_handle(name).terminate()


async def test_payment_with_the_start(system: System, name: str) -> None:
    """A payment that comes with the start begins a new run before anything else is asked."""
    options = {"start_signal": "renew", "start_signal_args": [Payment("p", 365)]}
    handle = await begin(system.client, name, 30, YEAR, **options)

    async def is_new_run() -> bool:
        return (await system.client.get_workflow_handle(name).describe()).run_id != handle.first_execution_run_id

    await until("a new run", is_new_run, seconds=15)
    assert (await status_of(system.client, name)).days_left == 395
    await system.client.get_workflow_handle(name).terminate()
