"""The account service's jobs. Each is one transaction, and a repetition finds what the first run did."""

from __future__ import annotations

from psycopg.errors import NumericValueOutOfRange
from temporalio.exceptions import ApplicationError

from delegator import implements
from examples.database import database
from examples.payments import contracts
from examples.payments.contracts import DEBIT_REFUSED, INSUFFICIENT_FUNDS, LIMIT_REACHED, Payment, Validation

# A credit that comes first leaves an entry in the debit's place, and a debit that comes later finds it there.
_CLAIM_DEBIT = """
    INSERT INTO payments_account.entries (entry_id, payment_id, account_id, kind, amount)
    VALUES (%(payment_id)s || ':debit', %(payment_id)s, %(user_id)s, %(kind)s, %(amount)s)
    ON CONFLICT (entry_id) DO NOTHING
"""
_CREDIT = """
    INSERT INTO payments_account.entries (entry_id, payment_id, account_id, kind, amount)
    SELECT %(payment_id)s || ':credit', payment_id, account_id, 'credit', -amount
    FROM payments_account.entries WHERE entry_id = %(payment_id)s || ':debit'
    ON CONFLICT (entry_id) DO NOTHING
    RETURNING account_id, amount
"""


@implements(contracts.validate)
async def validate(payment: Payment) -> Validation:
    """Say whether the account may pay. The balance is checked again by the debit, which decides."""
    async with database.get().connection() as connection:
        cursor = await connection.execute(
            "SELECT active, currency, balance, methods, email, phone FROM payments_account.accounts WHERE id = %s",
            (payment.user_id,),
        )
        row = await cursor.fetchone()
    if row is None:
        return Validation("there is no such account")
    active, currency, balance, methods, email, phone = row
    reason = None
    if not active:
        reason = "the account is not active"
    elif currency != payment.currency:
        reason = f"the account is in {currency}"
    elif payment.method not in methods:
        reason = f"the account does not allow {payment.method}"
    elif balance < payment.amount:
        reason = "insufficient funds"
    return Validation(reason, email, phone)


@implements(contracts.debit)
async def debit(payment: Payment) -> None:
    """Take the amount. The entry and the new balance are one transaction."""
    async with database.get().connection() as connection:
        entry = {
            "payment_id": payment.payment_id,
            "user_id": payment.user_id,
            "kind": "debit",
            "amount": -payment.amount,
        }
        if (await connection.execute(_CLAIM_DEBIT, entry)).rowcount == 0:
            cursor = await connection.execute(
                "SELECT kind FROM payments_account.entries WHERE entry_id = %s", (f"{payment.payment_id}:debit",)
            )
            if await cursor.fetchone() == ("refused",):
                raise ApplicationError("the payment was given up", type=DEBIT_REFUSED, non_retryable=True)
            return
        taken = await connection.execute(
            "UPDATE payments_account.accounts SET balance = balance - %(amount)s"
            " WHERE id = %(user_id)s AND balance >= %(amount)s",
            {"user_id": payment.user_id, "amount": payment.amount},
        )
        if taken.rowcount == 0:
            raise ApplicationError("insufficient funds", type=INSUFFICIENT_FUNDS, non_retryable=True)


@implements(contracts.credit)
async def credit(payment: Payment) -> None:
    """Give the amount back, or refuse the debit if it has not happened."""
    async with database.get().connection() as connection:
        await connection.execute(
            _CLAIM_DEBIT,
            {"payment_id": payment.payment_id, "user_id": payment.user_id, "kind": "refused", "amount": 0},
        )
        cursor = await connection.execute(_CREDIT, {"payment_id": payment.payment_id})
        if (row := await cursor.fetchone()) is None:
            return
        account_id, amount = row
        try:
            await connection.execute(
                "UPDATE payments_account.accounts SET balance = balance + %s WHERE id = %s", (amount, account_id)
            )
        except NumericValueOutOfRange:
            # A fault that a person must mend. It is tried again for as long as that takes.
            raise ApplicationError("the account can't hold the amount", type="AccountFull") from None


@implements(contracts.check_daily_limit)
async def check_daily_limit(payment: Payment) -> None:
    """Refuse a payment with which the account would spend more than its limit within a day."""
    async with database.get().connection() as connection:
        cursor = await connection.execute(
            "SELECT daily_limit, (SELECT coalesce(-sum(amount), 0) FROM payments_account.entries"
            " WHERE account_id = id AND created_at > now() - interval '1 day')"
            " FROM payments_account.accounts WHERE id = %s",
            (payment.user_id,),
        )
        row = await cursor.fetchone()
    if row is not None and row[0] is not None and row[1] + payment.amount > row[0]:
        raise ApplicationError("the account's limit of a day is reached", type=LIMIT_REACHED, non_retryable=True)
