"""`python -m examples.renewals [--dispatch classic]`: three subscribers; a day takes a second."""

from __future__ import annotations

import argparse
import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle

from examples.command import claim, run_example, until
from examples.database import execute, fetch_value
from examples.local import MAILBOX, Dispatch, Pool, Service, System, add_dispatch, local_system
from examples.mailbox import subjects_of
from examples.renewals import tasks
from examples.renewals.contracts import Payment, Status, Subscription, Terms
from examples.renewals.workflow import KeepSubscription

BILLING = Service("examples.renewals.billing", tasks.BILLING_PORT)
SHORT = Terms(interval_seconds=1, day_seconds=1, grace_days=1)


def running_renewals(dispatch: Dispatch = Dispatch.DELEGATED) -> AbstractAsyncContextManager[System]:
    """Run all processes."""
    return local_system(
        Pool([tasks]),
        dispatch=dispatch,
        intercept=True,
        services=[MAILBOX, BILLING],
        workflows={"renewals": [KeepSubscription]},
    )


async def main(dispatch: Dispatch) -> None:
    """Let one pay after the first reminder, one pay at once, and one not pay."""
    ada, bo, cy = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("ada", "bo", "cy"))
    async with running_renewals(dispatch) as system:
        early = replace(SHORT, reminders=(58, 1, 0))
        await begin(system.client, ada, 60, early)
        await (await begin(system.client, bo, 60, early)).signal(KeepSubscription.renew, await pay(bo, 365))
        never = await begin(system.client, cy, 9, SHORT)
        print(f"{bo} pays at once; the payment comes by a signal, and is found by polling, too")
        await until("the first reminder", lambda: reminders_of(ada))
        await pay(ada, 365)
        print(f"{ada} pays after the first reminder; polling finds the payment")
        print(f"{cy} does not pay: {(await never.result()).state}")
        got = await reminders_of(cy)
        claim(got == sorted(set(got), reverse=True) and 0 in got, f"{cy} was reminded up to the end: {got}")
        claim(not await has_access(cy), f"{cy} has lost access after the days of grace")
        for name, reminders in ((ada, [58]), (bo, [])):
            days = (await status_of(system.client, name)).days_left
            claim(await has_access(name) and 365 < days <= 425, f"{name} has access for one year more, not for two")
            claim(await reminders_of(name) == reminders, f"{name} got no reminder after the payment")
            await system.client.get_workflow_handle(name).terminate("the example ends")


async def begin(client: Client, name: str, days: int, terms: Terms, **options: Any) -> WorkflowHandle[Any, Any]:
    """Begin a subscription."""
    insert = "INSERT INTO renewals.accounts (subscription, address) VALUES (%s, %s)"
    await execute(insert, name, f"{name}@example.org")
    ends = datetime.now(UTC) + timedelta(seconds=days * terms.day_seconds)
    options = {"task_queue": "renewals", **options}
    return await client.start_workflow(KeepSubscription.run, Subscription(name, ends, terms), id=name, **options)


async def status_of(client: Client, name: str) -> Status:
    """Ask the workflow of a subscription, whichever run it is in."""
    status: Status = await client.get_workflow_handle(name).query("status", result_type=Status)
    return status


async def pay(name: str, days: int) -> Payment:
    """Pay, as a subscriber does at the billing service."""
    payment = Payment(str(uuid.uuid4()), days)
    await execute("INSERT INTO renewals.payments VALUES (%s, %s, %s)", payment.id, name, days)
    return payment


async def reminders_of(name: str) -> list[int]:
    """Return the reminders in a subscriber's mailbox, in the order in which they came."""
    return [int(subject.split()[0]) for subject in await subjects_of(f"{name}@example.org")]


async def has_access(name: str) -> bool:
    """Return whether a subscriber has access."""
    return await fetch_value("SELECT has_access FROM renewals.accounts WHERE subscription = %s", name) is True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.renewals", description=__doc__)
    add_dispatch(parser)
    run_example(main(parser.parse_args().dispatch))
