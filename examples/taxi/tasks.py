"""The jobs: move money, take it back, report a trip, send a mail. Each takes effect once, however often it is run."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.database import Connection, database
from examples.outgoing import REFUSED, mail_once

_BEGIN = (
    "INSERT INTO taxi.moves (saga_id, step, is_undone) VALUES (%s, %s, false) ON CONFLICT DO NOTHING RETURNING step"
)
_IS_UNDONE = "SELECT is_undone FROM taxi.moves WHERE saga_id = %s AND step = %s"
_PAY = """
UPDATE taxi.accounts SET credit = credit + %s WHERE id = %s AND kind = 'client' AND is_open AND credit + %s >= 0
"""
# The lock keeps the account open until this transaction ends, and lets other settlements do the same.
_ACCOUNT = "SELECT kind, is_open FROM taxi.accounts WHERE id = %s FOR SHARE"
_PAY_BACK = "UPDATE taxi.accounts SET credit = credit + %s WHERE id = %s AND kind = 'client'"
_ENTER = "INSERT INTO taxi.entries (saga_id, step, account, amount) VALUES (%s, %s, %s, %s), (%s, %s, %s, %s)"
# Without a movement it inserts a row all the same: a step that arrives late finds it and does nothing.
_UNDO = """
INSERT INTO taxi.moves AS old (saga_id, step, is_undone) VALUES (%s, %s, true)
ON CONFLICT (saga_id, step) DO UPDATE SET is_undone = true WHERE NOT old.is_undone RETURNING xmax = 0
"""
_REPORT = """
INSERT INTO taxi.reports (trip_id, client, driver, driver_cents, company_cents) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_SETTLED = "SELECT client, driver, driver_cents, company_cents FROM taxi.settlements WHERE trip_id = %s"


@dataclass(frozen=True)
class Move:
    """One step of a saga: what one account loses and another one gets."""

    saga_id: str
    step: str
    source: str
    target: str
    cents: int


@dataclass(frozen=True)
class Shares:
    """Who pays what to whom for a trip."""

    trip_id: str
    client: str
    driver: str
    driver_cents: int
    company_cents: int


@delegated
async def move(asked: Move) -> None:
    """Move money between two accounts, or nothing if one of them refuses."""
    key = (asked.saga_id, asked.step)
    async with database.get().connection() as connection:  # one transaction: all tables or none
        if await (await connection.execute(_BEGIN, key)).fetchone() is None:
            if await (await connection.execute(_IS_UNDONE, key)).fetchone() == (True,):
                raise _refused("CalledOff", f"{asked.saga_id} was called off before")
            return
        await _pay(connection, asked, asked.source, -asked.cents)
        await _pay(connection, asked, asked.target, asked.cents)
        await _enter(connection, asked)


@delegated
async def take_back(asked: Move) -> None:
    """Undo a movement if it was made, and keep it from being made later. If a client has spent it, it is tried on."""
    async with database.get().connection() as connection:
        undone = await (await connection.execute(_UNDO, (asked.saga_id, asked.step))).fetchone()
        if undone == (False,):  # the row was there: the movement was made
            await connection.execute(_PAY_BACK, (asked.cents, asked.source))
            await connection.execute(_PAY_BACK, (-asked.cents, asked.target))
            back = Move(asked.saga_id, f"{asked.step} undone", asked.target, asked.source, asked.cents)
            await _enter(connection, back)


@delegated
async def report(shares: Shares) -> None:
    """Note that a trip is settled: from here on it can be refunded."""
    async with database.get().connection() as connection:
        parts = (shares.trip_id, shares.client, shares.driver, shares.driver_cents, shares.company_cents)
        await connection.execute(_REPORT, parts)


@delegated
async def settled(trip_id: str) -> Shares:
    """Return who got what for a trip."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_SETTLED, (trip_id,))).fetchone()
    if row is None:
        raise _refused("NotSettled", f"{trip_id} is not settled")
    return Shares(trip_id, *row)


@delegated
async def send_mail(key: str, client: str, subject: str, text: str) -> bool:
    """Send a client a mail. A mail server that refuses it changes nothing about the money."""
    try:
        return await mail_once(key, f"{client}@example.org", subject, text)
    except ApplicationError as error:
        if error.type == REFUSED and error.non_retryable:
            return False
        raise


async def _pay(connection: Connection, asked: Move, account: str, cents: int) -> None:
    if account == asked.saga_id or (await connection.execute(_PAY, (cents, account, cents))).rowcount:
        return
    found = await (await connection.execute(_ACCOUNT, (account,))).fetchone()
    if found is None or not found[1]:
        raise _refused("AccountClosed", f"account {account} is not open")
    if found[0] == "client":
        raise _refused("NoMoney", f"client {account} has less than {-cents} cents")


async def _enter(connection: Connection, asked: Move) -> None:
    step = (asked.saga_id, asked.step)
    await connection.execute(_ENTER, (*step, asked.source, -asked.cents, *step, asked.target, asked.cents))


def _refused(kind: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)
