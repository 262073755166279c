"""`python -m examples.trip`: three trips of a customer; the second fails at its last step, the third at its first."""

from __future__ import annotations

import uuid
from pathlib import Path

from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from examples.command import claim, run_example
from examples.database import connection, create_tables, fetch_value
from examples.local import Pool, local_system
from examples.trip import tasks
from examples.trip.workflow import BookTrip, Trip

SCHEMA = Path(__file__).with_name("schema.sql")


async def main() -> None:
    """Book three trips of one customer."""
    async with (
        local_system(Pool([tasks])) as system,
        Worker(system.client, task_queue="trip", workflows=[BookTrip]),
    ):
        await create_tables(SCHEMA)
        run = uuid.uuid4().hex[:8]
        customer, hotel, flight, full = (f"{name}-{run}" for name in ("Ada", "Ritz", "LX1", "LX2"))
        async with connection() as opened, opened.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO trip.stock (kind, name, free) VALUES (%s, %s, %s)",
                [("credit", customer, 100_000), ("hotel", hotel, 2), ("flight", flight, 5), ("flight", full, 0)],
            )
        print(f"{customer} has 1,000.00 of credit, {hotel} has 2 rooms, {flight} has 5 seats, {full} has none")
        await book(system.client, Trip(f"trip-1-{run}", customer, 60_000, hotel, flight))
        await book(system.client, Trip(f"trip-2-{run}", customer, 30_000, hotel, full))
        await book(system.client, Trip(f"trip-3-{run}", customer, 60_000, hotel, flight))
        free = "SELECT free FROM trip.stock WHERE name = %s"
        left = [await fetch_value(free, name) for name in (customer, hotel, flight)]
        claim(left == [40_000, 1, 4], "only the first trip has taken credit, a room and a seat")


async def book(client: Client, trip: Trip) -> None:
    """Book a trip and print what comes of it."""
    offer = f"{trip.trip_id}: {trip.hotel}, {trip.flight}, {trip.price / 100:.2f}"
    try:
        await client.execute_workflow(BookTrip.run, trip, id=trip.trip_id, task_queue="trip")
        print(f"{offer}: booked")
    except WorkflowFailureError as failed:
        print(f"{offer}: {failed.cause.__cause__}")


if __name__ == "__main__":
    run_example(main())
