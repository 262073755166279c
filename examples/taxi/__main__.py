"""`python -m examples.taxi [--trips N] [--dispatch classic]`: settle many trips at once, of three busy drivers."""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from collections import Counter
from contextlib import AbstractAsyncContextManager

from temporalio.client import Client, WorkflowFailureError

from examples.command import claim, run_example
from examples.database import connection, fetch_value
from examples.local import MAILBOX, Dispatch, Pool, System, add_dispatch, local_system
from examples.taxi import tasks
from examples.taxi.workflow import COMPANY, RefundTrip, SettleTrip, Trip

POOL = Pool([tasks])
CREDIT = 5_000
BALANCE = "SELECT coalesce(sum(amount), 0)::bigint FROM taxi.entries WHERE account LIKE %s"
_IN_FLIGHT = 100


def running_taxi(dispatch: Dispatch = Dispatch.DELEGATED) -> AbstractAsyncContextManager[System]:
    """Run the mail server, the pool and the Temporal worker."""
    workflows = {"taxi": [SettleTrip, RefundTrip]}
    return local_system(POOL, dispatch=dispatch, intercept=True, services=[MAILBOX], workflows=workflows)


async def main(dispatch: Dispatch, trips: int) -> None:
    """Settle trips; a fifth of the clients has too little money, and one driver's account is closed."""
    async with running_taxi(dispatch) as system:
        run = uuid.uuid4().hex[:8]
        drivers = [f"{name}-{run}" for name in ("ann", "ben", "closed")]
        clients = [f"client{number}-{run}" for number in range(trips)]
        await open_accounts(clients, drivers)
        asked = [
            Trip(
                f"trip{number}-{run}", client, drivers[2 if number % 20 == 1 else number % 2], 1_001 + number % 10 * 500
            )
            for number, client in enumerate(clients)
        ]
        began = time.monotonic()
        outcomes = await settle(system.client, asked)
        rate = trips / (time.monotonic() - began)
        print(
            f"{trips} trips of two drivers, {rate:.0f} a second: " + ", ".join(f"{n} {o}" for o, n in outcomes.items())
        )
        await system.client.execute_workflow(
            RefundTrip.run, args=[asked[0].trip_id, 300], id=f"refund-{asked[0].trip_id}", task_queue="taxi"
        )
        for name in (*drivers, COMPANY):
            print(f"{name}: {await fetch_value(BALANCE, name)} cents")
        claim(await fetch_value(BALANCE, f"trip%-{run}%") == 0, "no money is on its way")
        both = "SELECT sum(amount) = 0 FROM taxi.entries WHERE saga_id LIKE %s"
        claim(await fetch_value(both, f"trip%-{run}%") is True, "all entries together are 0")
        spent = "SELECT sum(%s - credit)::bigint FROM taxi.accounts WHERE id LIKE %s"
        earned = """
        SELECT sum(driver_cents + company_cents)::bigint FROM taxi.settlements
        WHERE trip_id LIKE %s AND NOT is_refunded
        """
        same = await fetch_value(spent, CREDIT, f"client%-{run}") == await fetch_value(earned, f"trip%-{run}")
        claim(same, "the clients have paid what the report says, and no cent more")
        # By their ids: a mail whose sender died before it could record it comes twice, with the same one.
        mails = "SELECT count(DISTINCT message_id) FROM mailbox.mails WHERE recipient LIKE %s"
        count = await fetch_value(mails, f"client%-{run}@%")
        claim(count == outcomes["settled"] + 1, "one mail for each settled trip, and one for the refund")


async def open_accounts(clients: list[str], drivers: list[str]) -> None:
    """Open accounts. The last driver has closed his."""
    async with connection() as opened, opened.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO taxi.accounts (id, kind, credit, is_open) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [(COMPANY, "company", None, True)]
            + [(client, "client", CREDIT, True) for client in clients]
            + [(driver, "driver", None, driver != drivers[-1]) for driver in drivers],
        )


async def settle(client: Client, trips: list[Trip]) -> Counter[str]:
    """Settle trips, so many at once. Return how they ended."""
    free = asyncio.Semaphore(_IN_FLIGHT)

    async def one(trip: Trip) -> str:
        async with free:
            try:
                await client.execute_workflow(SettleTrip.run, trip, id=f"settle-{trip.trip_id}", task_queue="taxi")
                return "settled"
            except WorkflowFailureError as failed:
                return str(getattr(failed.cause.__cause__, "type", failed.cause))

    return Counter(await asyncio.gather(*map(one, trips)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.taxi", description=__doc__)
    add_dispatch(parser)
    parser.add_argument("--trips", type=int, default=200, help="how many (default: 200)")
    arguments = parser.parse_args()
    run_example(main(arguments.dispatch, arguments.trips))
