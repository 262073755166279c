"""The account service's jobs. Each is one transaction, and a repetition finds what the first run did."""

from __future__ import annotations

from psycopg.errors import NumericValueOutOfRange
from temporalio.exceptions import ApplicationError

from delegator import implements
from examples.database import database
from examples.payments import contracts
from examples.payments.contracts import DEBIT_REFUSED, INSUFFICIENT_FUNDS, LIMIT_REACHED, Payment, Validation

_ACCOUNT = "SELECT active, currency, balance, methods, email, phone FROM payments_account.accounts WHERE id = %s"
# A credit that comes first leaves an entry in the debit's place, and a debit that comes later finds it there.
_CLAIM_DEBIT = """
    INSERT INTO payments_account.entries (entry_id, payment_id, account_id, kind, amount)
    VALUES (%(payment_id)s || ':debit', %(payment_id)s, %(user_id)s, %(kind)s, %(amount)s)
    ON CONFLICT (entry_id) DO NOTHING
"""
_KIND = "SELECT kind FROM payments_account.entries WHERE entry_id = %s || ':debit'"
_TAKE = "UPDATE payments_account.accounts SET balance = balance - %s WHERE id = %s AND balance >= %s"
_CREDIT = """
    INSERT INTO payments_account.entries (entry_id, payment_id, account_id, kind, amount)
    SELECT %(payment_id)s || ':credit', payment_id, account_id, 'credit', -amount
    FROM payments_account.entries WHERE entry_id = %(payment_id)s || ':debit'
    ON CONFLICT (entry_id) DO NOTHING
    RETURNING amount, account_id
"""
_GIVE = "UPDATE payments_account.accounts SET balance = balance + %s WHERE id = %s"
_LIMIT = """
    SELECT daily_limit < %s + coalesce((
        SELECT -sum(amount) FROM payments_account.entries
        WHERE account_id = id AND created_at > now() - interval '1 day'
    ), 0) FROM payments_account.accounts WHERE id = %s
"""


@implements(contracts.validate)
async def validate(payment: Payment) -> Validation:
    """Say whether the account may pay. The balance is checked again by the debit, which decides."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_ACCOUNT, (payment.user_id,))).fetchone()
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
        entry = {**vars(payment), "kind": "debit", "amount": -payment.amount}
        if (await connection.execute(_CLAIM_DEBIT, entry)).rowcount == 0:
            if await (await connection.execute(_KIND, (payment.payment_id,))).fetchone() == ("refused",):
                raise ApplicationError("the payment was given up", type=DEBIT_REFUSED, non_retryable=True)
            return
        taken = await connection.execute(_TAKE, (payment.amount, payment.user_id, payment.amount))
        if taken.rowcount == 0:
            raise ApplicationError("insufficient funds", type=INSUFFICIENT_FUNDS, non_retryable=True)


@implements(contracts.credit)
async def credit(payment: Payment) -> None:
    """Give the amount back, or refuse the debit if it has not happened."""
    async with database.get().connection() as connection:
        entry = {**vars(payment), "kind": "refused", "amount": 0}
        await connection.execute(_CLAIM_DEBIT, entry)
        back = await (await connection.execute(_CREDIT, entry)).fetchone()
        try:
            if back is not None:
                await connection.execute(_GIVE, back)
        except NumericValueOutOfRange:
            # A fault that a person must mend. It is tried again for as long as that takes.
            raise ApplicationError("the account can't hold the amount", type="AccountFull") from None


@implements(contracts.check_daily_limit)
async def check_daily_limit(payment: Payment) -> None:
    """Refuse a payment with which the account would spend more than its limit within a day."""
    async with database.get().connection() as connection:
        row = await (await connection.execute(_LIMIT, (payment.amount, payment.user_id))).fetchone()
    if row == (True,):
        raise ApplicationError("the account's limit of a day is reached", type=LIMIT_REACHED, non_retryable=True)
