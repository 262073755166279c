"""Opens accounts: for the demonstration, the load scenarios and the tests. No service needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from examples.database import connection, create_tables, fetch_value

_INSERT = """
    INSERT INTO payments_account.accounts (id, balance, currency, active, methods, email, phone, daily_limit)
    VALUES (%(user_id)s, %(balance)s, %(currency)s, %(active)s, %(methods)s,
            coalesce(%(email)s, %(user_id)s || '@example.com'), %(phone)s, %(daily_limit)s)
    ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True)
class Account:
    """A new account."""

    user_id: str
    balance: int = 0
    currency: str = "EUR"
    active: bool = True
    methods: list[str] = field(default_factory=lambda: ["card", "bank", "wallet"])
    email: str | None = None
    """None: made of the user's id."""
    phone: str | None = None
    daily_limit: int | None = None
    """Most that it may spend in a day, for version 2 of the workflow; None: any."""


async def open_accounts(accounts: Iterable[Account]) -> None:
    """Open accounts in the database that the environment names; those that exist stay as they are."""
    await create_tables(Path(__file__).with_name("schema.sql"))
    async with connection() as opened, opened.cursor() as cursor:
        await cursor.executemany(_INSERT, [vars(one) for one in accounts])


async def total_balance() -> int:
    """Return the sum of all balances."""
    return int(str(await fetch_value("SELECT coalesce(sum(balance), 0) FROM payments_account.accounts")))
