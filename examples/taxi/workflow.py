"""The two sagas, written with ordinary activities: `--dispatch` alone decides whether these become delegated jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

from examples.jobs import run_job
from examples.saga import Saga, Terms

with workflow.unsafe.imports_passed_through():
    import examples.taxi.tasks as tasks
    from examples.taxi.tasks import Move, Shares

COMPANY = "company"


@dataclass(frozen=True)
class Trip:
    """What has to be settled."""

    trip_id: str
    client: str
    driver: str
    price_cents: int
    commission_basis_points: int = 1_750
    """Of the price, in hundredths of a percent."""
    step_seconds: int = 300
    """How long a step may take, retries included. A compensation is tried without end."""


@workflow.defn
class SettleTrip:
    """Pays the driver and the company with the client's money, or nobody."""

    @workflow.run
    async def run(self, trip: Trip) -> Shares:
        """Settle a trip. A failure or a cancellation comes out after all money is back."""
        name, shares = trip.trip_id, shares_of(trip)
        moves = [
            Move(name, "fare", trip.client, name, trip.price_cents),
            Move(name, "driver", name, trip.driver, shares.driver_cents),
            Move(name, "commission", name, COMPANY, shares.company_cents),
        ]
        async with Saga(run_job, Terms(trip.step_seconds)) as saga:
            for move in moves:
                await saga.step(tasks.move, tasks.take_back, move)
            await saga.step(tasks.report, None, shares)
        text = f"You paid {trip.price_cents} cents to {trip.driver}."
        await run_job(tasks.send_mail, f"{name}:receipt", trip.client, "Your trip", text)
        return shares


@workflow.defn
class RefundTrip:
    """Takes a settlement back by movements of its own: what was settled stays in the ledger."""

    @workflow.run
    async def run(self, trip_id: str, step_seconds: int) -> Shares:
        """Refund a trip. If its driver or its client has no account any more, nobody pays."""
        name, timeout = f"{trip_id}:refund", timedelta(seconds=step_seconds)
        shares: Shares = await run_job(tasks.settled, trip_id, schedule_to_close_timeout=timeout)
        moves = [
            Move(name, "commission", COMPANY, name, shares.company_cents),
            Move(name, "driver", shares.driver, name, shares.driver_cents),
            Move(name, "fare", name, shares.client, shares.driver_cents + shares.company_cents),
        ]
        async with Saga(run_job, Terms(step_seconds)) as saga:
            for move in moves:
                await saga.step(tasks.move, tasks.take_back, move)
        await run_job(tasks.send_mail, f"{name}:mail", shares.client, "Your refund", "The fare is yours again.")
        return shares


def shares_of(trip: Trip) -> Shares:
    """Divide a price. What can't be divided goes to the company."""
    driver = trip.price_cents * (10_000 - trip.commission_basis_points) // 10_000
    return Shares(trip.trip_id, trip.client, trip.driver, driver, trip.price_cents - driver)
