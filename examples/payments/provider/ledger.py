"""The provider's own ledger, in a file: what it captured is true whatever the payments' services believe."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (payment_id TEXT PRIMARY KEY, amount INTEGER, state TEXT);
CREATE TABLE IF NOT EXISTS texts (key TEXT PRIMARY KEY, phone TEXT, text TEXT);
"""
_ACCEPT = """
INSERT INTO charges (payment_id, amount, state) VALUES (?, ?, ?)
ON CONFLICT (payment_id) DO UPDATE SET state = state RETURNING state
"""
_FINISH = """
UPDATE charges SET state = CASE state WHEN 'accepted' THEN ? ELSE state END WHERE payment_id = ? RETURNING state
"""
_VOID = """
INSERT INTO charges (payment_id, amount, state) VALUES (?, 0, 'voided')
ON CONFLICT (payment_id) DO UPDATE SET state = 'voided' RETURNING state
"""


class Ledger:
    """Charges and text messages, each once for its idempotency key."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_SCHEMA)

    def accept(self, payment_id: str, amount: int, state: str) -> str:
        """Keep a charge, unless it is known. Return its state."""
        return self._state(_ACCEPT, payment_id, amount, state)

    def finish(self, payment_id: str, state: str) -> str:
        """Capture or decline an accepted charge. Return its state: it may be voided by then."""
        return self._state(_FINISH, state, payment_id)

    def void(self, payment_id: str) -> str:
        """Give the money of a charge back. A charge that is not known is refused from then on."""
        return self._state(_VOID, payment_id)

    def text(self, key: str, phone: str, text: str) -> None:
        """Keep a text message."""
        self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", (key, phone, text))

    def _state(self, statement: str, *values: object) -> str:
        ((state,),) = self._connection.execute(statement, values).fetchall()
        return str(state)
