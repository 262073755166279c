"""The jobs: reserve something and release it again. Each may run any number of times and takes effect once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.database import database

_RESERVE = """
INSERT INTO trip.reservations (trip_id, kind, name, amount, released) VALUES (%s, %s, %s, %s, false)
ON CONFLICT DO NOTHING RETURNING trip_id
"""
_IS_RELEASED = "SELECT released FROM trip.reservations WHERE trip_id = %s AND kind = %s"
_TAKE = "UPDATE trip.stock SET free = free - %s WHERE kind = %s AND name = %s AND free >= %s"
# Without a reservation it inserts a row all the same: a step that arrives late finds it and does nothing.
_RELEASE = """
INSERT INTO trip.reservations AS old (trip_id, kind, name, amount, released) VALUES (%s, %s, %s, 0, true)
ON CONFLICT (trip_id, kind) DO UPDATE SET released = true WHERE NOT old.released RETURNING amount
"""
_GIVE_BACK = "UPDATE trip.stock SET free = free + %s WHERE kind = %s AND name = %s"


@dataclass(frozen=True)
class Reservation:
    """What one step reserves."""

    trip_id: str
    kind: Literal["credit", "hotel", "flight"]
    name: str
    """The customer, the hotel or the flight."""
    amount: int = 1
    """Cents, rooms or seats."""


@delegated
async def reserve(wanted: Reservation) -> None:
    """Reserve; a repetition changes nothing."""
    step = (wanted.trip_id, wanted.kind)
    async with database.get().connection() as connection:  # one transaction: both tables or neither
        inserted = await connection.execute(_RESERVE, (*step, wanted.name, wanted.amount))
        if await inserted.fetchone() is None:
            released = await (await connection.execute(_IS_RELEASED, step)).fetchone()
            if released == (True,):
                raise ApplicationError("the trip was called off before", type="Released", non_retryable=True)
            return
        taken = await connection.execute(_TAKE, (wanted.amount, wanted.kind, wanted.name, wanted.amount))
        if not taken.rowcount:
            raise ApplicationError(f"{wanted.kind} {wanted.name}: none left", type="SoldOut", non_retryable=True)


@delegated
async def release(wanted: Reservation) -> None:
    """Undo the reservation if it was made, and keep it from being made later."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_RELEASE, (wanted.trip_id, wanted.kind, wanted.name))).fetchone()
        if row is not None:
            await connection.execute(_GIVE_BACK, (row[0], wanted.kind, wanted.name))
