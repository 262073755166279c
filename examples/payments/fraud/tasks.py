"""The fraud service's jobs."""

from __future__ import annotations

from delegator import implements
from examples.database import database
from examples.payments import contracts
from examples.payments.contracts import Payment, Review, Score

LARGE = 1_000_000
"""From this amount on a person must look."""


@implements(contracts.score)
async def score(payment: Payment) -> Score:
    """Judge by the list of watched users, then by the amount."""
    async with database.get().connection() as connection:
        cursor = await connection.execute(
            "SELECT verdict FROM payments_fraud.watched WHERE user_id = %s", (payment.user_id,)
        )
        row = await cursor.fetchone()
    if row is not None:
        return Score(row[0], "the user is on the watch list")
    return Score("review", "a large amount") if payment.amount >= LARGE else Score("pass", "nothing is suspicious")


@implements(contracts.record_review)
async def record_review(review: Review) -> None:
    """Keep who decided what; a repetition changes nothing."""
    async with database.get().connection() as connection:
        await connection.execute(
            "INSERT INTO payments_fraud.reviews (payment_id, verdict, reviewer) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (review.payment_id, review.verdict, review.reviewer),
        )
