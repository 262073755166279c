"""The fraud service's jobs."""

from __future__ import annotations

from delegator import implements
from examples.database import database
from examples.payments import contracts
from examples.payments.contracts import Payment, Review, Score

LARGE = 1_000_000
"""From this amount on a person must look."""
_WATCHED = "SELECT verdict FROM payments_fraud.watched WHERE user_id = %s"
_KEEP = "INSERT INTO payments_fraud.reviews VALUES (%(payment_id)s, %(verdict)s, %(reviewer)s) ON CONFLICT DO NOTHING"


@implements(contracts.score)
async def score(payment: Payment) -> Score:
    """Judge by the list of watched users, then by the amount."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_WATCHED, (payment.user_id,))).fetchone()
    if row is not None:
        return Score(row[0], "the user is on the watch list")
    return Score("review", "a large amount") if payment.amount >= LARGE else Score("pass", "nothing is suspicious")


@implements(contracts.record_review)
async def record_review(review: Review) -> None:
    """Keep who decided what; a repetition changes nothing."""
    async with database.get().connection() as connection:
        await connection.execute(_KEEP, vars(review))
