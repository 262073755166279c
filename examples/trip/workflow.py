"""The workflow: three steps in a saga."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

from examples.trip.saga import Saga

with workflow.unsafe.imports_passed_through():
    from examples.trip.tasks import Reservation, release, reserve


@dataclass(frozen=True)
class Trip:
    """What a customer books."""

    trip_id: str
    customer: str
    price: int
    """In cents."""
    hotel: str
    flight: str
    step_seconds: int = 300
    """How long a step may take, retries included."""
    attempts_alone: int = 5
    """How often a compensation may fail before a person is asked for. It is tried on, without end."""


@workflow.defn
class BookTrip:
    """Reserves everything, or nothing."""

    def __init__(self) -> None:
        self._needs_person: list[str] = []

    @workflow.run
    async def run(self, trip: Trip) -> None:
        """Reserve the three parts. A failure or a cancellation comes out after all reservations are released."""
        timeout = timedelta(seconds=trip.step_seconds)
        async with Saga(step_timeout=timeout, attempts_alone=trip.attempts_alone) as saga:
            self._needs_person = saga.needs_person
            await saga.step(reserve, release, Reservation(trip.trip_id, "credit", trip.customer, trip.price))
            await saga.step(reserve, release, Reservation(trip.trip_id, "hotel", trip.hotel))
            await saga.step(reserve, release, Reservation(trip.trip_id, "flight", trip.flight))

    @workflow.query
    def needs_person(self) -> list[str]:
        """Return the reservations whose release keeps failing."""
        return self._needs_person
