"""The provider's own ledger, in a file: what it captured is true whatever the payments' services believe."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    payment_id TEXT PRIMARY KEY, user_id TEXT, amount INTEGER, state TEXT, requests INTEGER DEFAULT 1
);
CREATE TABLE IF NOT EXISTS messages (key TEXT PRIMARY KEY, phone TEXT, text TEXT, requests INTEGER DEFAULT 1);
"""


class Ledger:
    """Charges and text messages, each once for its idempotency key."""

    def __init__(self, file: Path) -> None:
        """Open the file, or make it."""
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_SCHEMA)

    def accept(self, payment_id: str, user_id: str, amount: int, state: str = "accepted") -> str:
        """Keep a charge, unless it is known. Return its state."""
        return self._one(
            "INSERT INTO charges (payment_id, user_id, amount, state) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (payment_id) DO UPDATE SET requests = requests + 1 RETURNING state, requests",
            (payment_id, user_id, amount, state),
        )

    def finish(self, payment_id: str, state: str) -> str:
        """Capture or decline an accepted charge. Return its state: it may be voided by then."""
        return self._one(
            "UPDATE charges SET state = CASE state WHEN 'accepted' THEN ? ELSE state END WHERE payment_id = ?"
            " RETURNING state",
            (state, payment_id),
        )

    def void(self, payment_id: str) -> str:
        """Give the money of a charge back. A charge that is not known is refused from then on."""
        return self._one(
            "INSERT INTO charges (payment_id, amount, state) VALUES (?, 0, 'voided')"
            " ON CONFLICT (payment_id) DO UPDATE SET state = 'voided' RETURNING state",
            (payment_id,),
        )

    def text(self, key: str, phone: str, text: str) -> None:
        """Send a text message, once for each key."""
        self._one(
            "INSERT INTO messages (key, phone, text) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET requests = requests + 1 RETURNING key",
            (key, phone, text),
        )

    def _one(self, statement: str, values: tuple[object, ...]) -> str:
        (row,) = self._connection.execute(statement, values).fetchall()
        return str(row[0])
