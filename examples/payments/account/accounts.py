"""Opens accounts: for the demonstration, the load scenarios and the tests. No service needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.database import connection, create_tables, fetch_value


@dataclass(frozen=True)
class Account:
    """A new account."""

    user_id: str
    """Its user; an account is one user's."""
    balance: int = 0
    """In minor units."""
    currency: str = "EUR"
    """ISO 4217 code."""
    active: bool = True
    """Whether it may pay."""
    methods: tuple[str, ...] = ("card", "bank", "wallet")
    """What it allows."""
    email: str | None = None
    """None: made of the user's id."""
    phone: str | None = None
    """None: no text messages."""
    daily_limit: int | None = None
    """Most that it may spend in a day, for version 2 of the workflow; None: any."""


async def open_accounts(accounts: Sequence[Account]) -> None:
    """Open accounts in the database that the environment names; those that exist stay as they are."""
    await create_tables(Path(__file__).with_name("schema.sql"))
    async with connection() as opened, opened.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO payments_account.accounts (id, active, currency, balance, methods, email, phone, daily_limit)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (id) DO NOTHING",
            [
                (
                    *(one.user_id, one.active, one.currency, one.balance, list(one.methods)),
                    *(one.email or f"{one.user_id}@example.com", one.phone, one.daily_limit),
                )
                for one in accounts
            ],
        )


async def total_balance() -> int:
    """Return the sum of all balances."""
    return int(str(await fetch_value("SELECT coalesce(sum(balance), 0) FROM payments_account.accounts")))
