"""The workflow: three steps in a saga."""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio import workflow

from delegator import delegate
from examples.saga import Saga, Terms

with workflow.unsafe.imports_passed_through():
    from examples.trip.tasks import Reservation, release, reserve


@dataclass(frozen=True)
class Trip:
    """What a customer books."""

    trip_id: str
    customer: str
    price_cents: int
    hotel: str
    flight: str
    terms: Terms = field(default_factory=Terms)


@workflow.defn
class BookTrip:
    """Reserves everything, or nothing."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        self._saga = Saga(delegate, trip.terms)

    @workflow.run
    async def run(self, trip: Trip) -> None:
        """Reserve the three parts. A failure or a cancellation comes out after all reservations are released."""
        async with self._saga as saga:
            await saga.step(reserve, release, Reservation(trip.trip_id, trip.customer, trip.price_cents))
            await saga.step(reserve, release, Reservation(trip.trip_id, trip.hotel))
            await saga.step(reserve, release, Reservation(trip.trip_id, trip.flight))

    @workflow.query
    def needs_person(self) -> list[str]:
        """Return the reservations whose release keeps failing."""
        return self._saga.needs_person
