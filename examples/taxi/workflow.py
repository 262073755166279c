"""The two sagas, written with ordinary activities: `--dispatch` alone decides whether these become delegated jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from examples.taxi import tasks
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
        saga, timeout = trip.trip_id, timedelta(seconds=trip.step_seconds)
        shares = shares_of(trip)
        moves = [
            Move(saga, "fare", trip.client, saga, trip.price_cents),
            Move(saga, "driver", saga, trip.driver, shares.driver_cents),
            Move(saga, "commission", saga, COMPANY, shares.company_cents),
        ]
        await all_or_nothing(moves, timeout, shares)
        text = f"You paid {trip.price_cents} cents to {trip.driver}."
        await run_job(None, tasks.send_mail, f"{saga}:receipt", trip.client, "Your trip", text)
        return shares


@workflow.defn
class RefundTrip:
    """Takes a settlement back by movements of its own: what was settled stays in the ledger."""

    @workflow.run
    async def run(self, trip_id: str, step_seconds: int) -> Shares:
        """Refund a trip. If its driver or its client has no account any more, nobody pays."""
        saga, timeout = f"{trip_id}:refund", timedelta(seconds=step_seconds)
        shares: Shares = await run_job(timeout, tasks.settled, trip_id)
        moves = [
            Move(saga, "commission", COMPANY, saga, shares.company_cents),
            Move(saga, "driver", shares.driver, saga, shares.driver_cents),
            Move(saga, "fare", saga, shares.client, shares.driver_cents + shares.company_cents),
        ]
        await all_or_nothing(moves, timeout)
        await run_job(None, tasks.send_mail, f"{saga}:mail", shares.client, "Your refund", "The fare is yours again.")
        return shares


async def all_or_nothing(moves: Sequence[Move], timeout: timedelta, *reports: Shares) -> None:
    """Make movements, and report them. If anything of it fails, take the movements back, the last one first."""
    begun: list[Move] = []
    try:
        for move in moves:
            begun.append(move)  # before the step: one that fails or times out may have taken effect
            await run_job(timeout, tasks.move, move)
        for shares in reports:
            await run_job(timeout, tasks.report, shares)
    except (ActivityError, asyncio.CancelledError):
        undoing = asyncio.ensure_future(_take_back(begun))
        while not undoing.done():
            # A second cancellation of the workflow ends this wait, and not the compensations.
            with suppress(asyncio.CancelledError):
                await asyncio.shield(undoing)
        raise


async def _take_back(moves: Sequence[Move]) -> None:
    for move in reversed(moves):
        await run_job(None, tasks.take_back, move)


async def run_job(timeout: timedelta | None, job: Callable[..., Any], *arguments: Any) -> Any:
    """Run a job; without a timeout it is tried without end."""
    return await workflow.execute_activity(
        job,
        args=arguments,
        task_queue="default",
        schedule_to_close_timeout=timeout,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
        # Waits for a cancelled step to stop. Otherwise the compensation might come before the step's effect.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def shares_of(trip: Trip) -> Shares:
    """Divide a price. What can't be divided goes to the company."""
    driver = trip.price_cents * (10_000 - trip.commission_basis_points) // 10_000
    return Shares(trip.trip_id, trip.client, trip.driver, driver, trip.price_cents - driver)
