"""Whether all books agree: the accounts' ledger, the provider's own one, and the mailbox.

Nothing here believes a workflow. A payment's status is what the API answers; what must follow from it is looked up at
the other side.
"""

from __future__ import annotations

import asyncio
import mailbox
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.database import connection


@dataclass(frozen=True)
class Books:
    """What stands in all books at one moment."""

    balances: int
    """Of all accounts together."""
    entries: Mapping[str, Mapping[str, int]]
    """Amounts in the accounts' ledger, by payment and kind."""
    charges: Mapping[str, tuple[str, int]]
    """State and amount at the provider, by payment."""
    mails: Counter[tuple[str, str]]
    """Mails by payment and outcome. Two copies with one Message-ID are one mail."""
    copies: int
    """All mails in the mailbox."""
    users: frozenset[str]
    """Users with an account, who can be told."""

    @classmethod
    async def read(cls, provider_ledger: Path, mails: Path) -> Books:
        """Read all books.

        Args:
            provider_ledger: the provider's file.
            mails: the mail server's Maildir.
        """
        entries: dict[str, dict[str, int]] = {}
        async with connection() as opened:
            accounts = await (await opened.execute("SELECT id, balance FROM payments_account.accounts")).fetchall()
            cursor = await opened.execute("SELECT payment_id, kind, amount FROM payments_account.entries")
            for payment_id, kind, amount in await cursor.fetchall():
                entries.setdefault(payment_id, {})[kind] = amount
        return await asyncio.to_thread(cls._with_files, accounts, entries, provider_ledger, mails)

    @classmethod
    def _with_files(
        cls, accounts: list[Any], entries: Mapping[str, Mapping[str, int]], provider_ledger: Path, mails: Path
    ) -> Books:
        with closing(sqlite3.connect(f"{provider_ledger.as_uri()}?mode=ro", uri=True)) as provider:
            rows = provider.execute("SELECT payment_id, state, amount FROM charges").fetchall()
        ids = [str(mail["Message-ID"]).strip() for mail in mailbox.Maildir(mails)]
        told = Counter(
            (found[1], found[2]) for one in set(ids) if (found := re.search(r"<(\w+)\.(success|fail)\.email@", one))
        )
        return cls(
            balances=sum(balance for _, balance in accounts),
            entries=entries,
            charges={payment_id: (state, amount) for payment_id, state, amount in rows},
            mails=told,
            copies=len(ids),
            users=frozenset(user for user, _ in accounts),
        )

    @property
    def captured(self) -> int:
        """What the provider has captured and not given back."""
        return sum(amount for state, amount in self.charges.values() if state == "captured")

    def problems(self, states: Mapping[str, Mapping[str, Any]], initial: int) -> list[str]:
        """Return what does not agree; nothing if all is well.

        Args:
            states: what the API answers, by payment.
            initial: the sum of all balances before the first payment.
        """
        found = []
        if self.balances + self.captured != initial:
            found.append(f"balances {self.balances} and captured {self.captured} are not the initial {initial}")
        for payment_id, state in states.items():
            found += [f"payment {payment_id} ({state['status']}): {one}" for one in self._problems(payment_id, state)]
        found += [f"payment {one}: at the provider, asked for by nobody" for one in self.charges.keys() - states.keys()]
        return found

    def _problems(self, payment_id: str, state: Mapping[str, Any]) -> list[str]:
        status, entries = state["status"], self.entries.get(payment_id, {})
        charge = self.charges.get(payment_id, ("none", 0))[0]
        amount, user = state["payment"]["amount"], state["payment"]["user_id"]
        # A mail that a person resolved was not sent.
        mails = int(user in self.users and state["notified"])
        if status == "success":
            expected = (
                (entries == {"debit": -amount}, f"entries {dict(entries)}"),
                (charge == "captured", f"the charge is {charge}"),
                (self.mails[payment_id, "success"] == mails, f"{self.mails[payment_id, 'success']} success mails"),
                (self.mails[payment_id, "fail"] == 0, "a failure mail"),
            )
        elif status == "fail":
            expected = (
                (sum(entries.values()) == 0, f"entries {dict(entries)}"),
                (charge != "captured", "the charge is captured"),
                (self.mails[payment_id, "fail"] == mails, f"{self.mails[payment_id, 'fail']} failure mails"),
                (self.mails[payment_id, "success"] == 0, "a success mail"),
            )
        else:
            return ["it is not final"]
        return [what for holds, what in expected if not holds]
