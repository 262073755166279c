"""The jobs: reserve something and release it again. Each may run any number of times and takes effect once."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.database import database

_RESERVE = "INSERT INTO trip.reservations VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_IS_RELEASED = "SELECT released FROM trip.reservations WHERE trip_id = %s AND name = %s"
_TAKE = "UPDATE trip.stock SET free = free - %s WHERE name = %s AND free >= %s"
# Without a reservation it inserts a row all the same: a step that arrives late finds it and does nothing.
_RELEASE = """
INSERT INTO trip.reservations AS old VALUES (%s, %s, 0, true)
ON CONFLICT (trip_id, name) DO UPDATE SET released = true WHERE NOT old.released RETURNING amount
"""
_GIVE_BACK = "UPDATE trip.stock SET free = free + %s WHERE name = %s"


@dataclass(frozen=True)
class Reservation:
    """What one step reserves: some of a customer's credit, a room of a hotel, or a seat of a flight."""

    trip_id: str
    name: str
    amount: int = 1


@delegated
async def reserve(wanted: Reservation) -> None:
    """Reserve; a repetition changes nothing."""
    step = (wanted.trip_id, wanted.name)
    async with database.get().connection() as connection:  # one transaction: both tables or neither
        if (await connection.execute(_RESERVE, (*step, wanted.amount))).rowcount:
            if not (await connection.execute(_TAKE, (wanted.amount, wanted.name, wanted.amount))).rowcount:
                raise ApplicationError(f"{wanted.name}: none left", type="SoldOut", non_retryable=True)
        elif await (await connection.execute(_IS_RELEASED, step)).fetchone() == (True,):
            raise ApplicationError("the trip was called off before", type="Released", non_retryable=True)


@delegated
async def release(wanted: Reservation) -> None:
    """Undo the reservation if it was made, and keep it from being made later."""
    async with database.get().connection() as connection:
        if reserved := await (await connection.execute(_RELEASE, (wanted.trip_id, wanted.name))).fetchone():
            await connection.execute(_GIVE_BACK, (*reserved, wanted.name))
