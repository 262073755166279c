"""Whether all books agree: the accounts' ledger, the provider's own one, and the mailbox.

Nothing here believes a workflow. A payment's status is what the API answers; what must follow from it is looked up at
the other side.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.database import fetch_all

_ENTRIES = "SELECT payment_id, kind, amount FROM payments_account.entries"
_MAILS = r"""
    SELECT substring(subject FROM '^Payment (\w+): '), substring(subject FROM '\w+$'),
           count(DISTINCT message_id), count(*)
    FROM mailbox.mails WHERE subject ~ '^Payment \w+: ' GROUP BY 1, 2
"""


@dataclass(frozen=True)
class Books:
    """What stands in all books at one moment."""

    balances: Mapping[str, int]
    """By user."""
    entries: Mapping[str, Mapping[str, int]]
    """Amounts in the accounts' ledger, by payment and kind."""
    charges: Mapping[str, tuple[str, int]]
    """State and amount at the provider, by payment."""
    mails: Mapping[tuple[str, str], int]
    """Mails by payment and outcome. Two copies with one Message-ID are one mail."""
    copies: Mapping[str, int]
    """All mails by payment."""

    @classmethod
    async def read(cls, provider_ledger: Path) -> Books:
        """Read all books. The provider's is a file."""
        entries: dict[str, dict[str, int]] = {}
        for payment_id, kind, amount in await fetch_all(_ENTRIES):
            entries.setdefault(payment_id, {})[kind] = amount
        mails, copies = Counter[tuple[str, str]](), Counter[str]()
        for payment_id, outcome, different, all_copies in await fetch_all(_MAILS):
            mails[payment_id, outcome] = different
            copies[payment_id] += all_copies
        return cls(
            balances=dict(await fetch_all("SELECT id, balance FROM payments_account.accounts")),
            entries=entries,
            charges=await asyncio.to_thread(_charges, provider_ledger),
            mails=mails,
            copies=copies,
        )

    def problems(self, states: Mapping[str, Mapping[str, Any]], initial: int) -> list[str]:
        """Return what does not agree; nothing if all is well.

        Args:
            states: what the API answers, by payment.
            initial: the sum of all balances before the first payment.
        """
        found = []
        balances = sum(self.balances.values())
        captured = sum(amount for state, amount in self.charges.values() if state == "captured")
        if balances + captured != initial:
            found.append(f"balances {balances} and captured {captured} are not the initial {initial}")
        for payment_id, state in states.items():
            found += [f"payment {payment_id} ({state['status']}): {one}" for one in self._problems(payment_id, state)]
        found += [f"payment {one}: at the provider, asked for by nobody" for one in self.charges.keys() - states.keys()]
        return found

    def _problems(self, payment_id: str, state: Mapping[str, Any]) -> list[str]:
        status, entries = state["status"], self.entries.get(payment_id, {})
        charge = self.charges.get(payment_id, ("none", 0))[0]
        amount, user = state["payment"]["amount"], state["payment"]["user_id"]
        if status not in ("success", "fail"):
            return ["it is not final"]
        # A mail that a person resolved was not sent.
        told = int(user in self.balances and state["notified"])
        mails = {outcome: self.mails.get((payment_id, outcome), 0) for outcome in ("success", "fail")}
        money_is_right = entries == {"debit": -amount} if status == "success" else sum(entries.values()) == 0
        expected = (
            (money_is_right, f"entries {dict(entries)}"),
            ((charge == "captured") == (status == "success"), f"the charge is {charge}"),
            (mails == {"success": 0, "fail": 0, status: told}, f"mails {mails}"),
        )
        return [what for holds, what in expected if not holds]


def _charges(ledger: Path) -> dict[str, tuple[str, int]]:
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as provider:
        rows = provider.execute("SELECT payment_id, state, amount FROM charges").fetchall()
    return {payment_id: (state, amount) for payment_id, state, amount in rows}
