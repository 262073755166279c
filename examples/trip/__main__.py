"""`python -m examples.trip`: three trips of a customer; the second fails at its last step, the third at its first."""

from __future__ import annotations

import uuid

from temporalio.client import WorkflowFailureError

from examples.command import claim, run_example
from examples.database import execute, fetch_value
from examples.local import Pool, local_system
from examples.trip import tasks
from examples.trip.workflow import BookTrip, Trip


async def main() -> None:
    """Book three trips of one customer."""
    run = uuid.uuid4().hex[:8]
    ada, hotel, flight, full = (f"{name} {run}" for name in ("credit of Ada", "hotel Ritz", "flight LX1", "flight LX2"))
    async with local_system(Pool([tasks]), workflows={"trip": [BookTrip]}) as system:
        for name, free in ((ada, 100_000), (hotel, 2), (flight, 5), (full, 0)):
            await execute("INSERT INTO trip.stock VALUES (%s, %s)", name, free)
            print(f"{name}: {free}")
        for number, (price, seat) in enumerate([(60_000, flight), (30_000, full), (60_000, flight)], 1):
            trip = Trip(f"trip-{number}-{run}", ada, price, hotel, seat)
            try:
                await system.client.execute_workflow(BookTrip.run, trip, id=trip.trip_id, task_queue="trip")
                print(f"{hotel} and {seat} for {price}: booked")
            except WorkflowFailureError as failed:
                print(f"{hotel} and {seat} for {price}: {failed.cause.__cause__}")
        left = [await fetch_value("SELECT free FROM trip.stock WHERE name = %s", name) for name in (ada, hotel, flight)]
        claim(left == [40_000, 1, 4], "only the first trip has taken credit, a room and a seat")


if __name__ == "__main__":
    run_example(main())
