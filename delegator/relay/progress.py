"""Decides up to which position the slot may be confirmed: every message before it must be acked."""

from __future__ import annotations

from collections import deque


class Transaction:
    """A transaction with messages of the stream; `pending` counts those that are not acked yet."""

    __slots__ = ("commit_lsn", "end_lsn", "micros", "pending")

    def __init__(self, commit_lsn: int, micros: int = 0) -> None:
        """Begin with no messages.

        Args:
            commit_lsn: where its commit record begins in the WAL.
            micros: when it was committed, in microseconds since PostgreSQL's epoch.
        """
        self.commit_lsn = commit_lsn
        self.micros = micros
        self.end_lsn = 0
        self.pending = 0


class Progress:
    """Tracks transactions in commit order.

    A position is confirmed only when each message of each earlier transaction is acked, because the slot repeats
    nothing that lies before it.
    """

    def __init__(self) -> None:
        """Begin with nothing confirmed."""
        self._open: deque[Transaction] = deque()
        self._confirmed = 0
        self._idle_at = 0

    @property
    def confirmed(self) -> int:
        """The newest position that may be confirmed; 0: none is known yet."""
        unresolved = self._open
        while unresolved and unresolved[0].pending == 0 and unresolved[0].end_lsn:
            self._confirmed = max(self._confirmed, unresolved.popleft().end_lsn)
        if not unresolved:
            self._confirmed = max(self._confirmed, self._idle_at)
        return self._confirmed

    @property
    def unresolved(self) -> int:
        """Transactions that hold the slot back."""
        return len(self._open)

    @property
    def oldest_micros(self) -> int | None:
        """When the oldest transaction that holds the slot back was committed; None: there is none.

        The time is in microseconds since PostgreSQL's epoch.
        """
        return next((one.micros for one in self._open if one.pending), None)

    def add(self, transaction: Transaction) -> None:
        """Take a transaction with messages of the stream, in commit order."""
        self._open.append(transaction)

    def reached(self, lsn: int) -> None:
        """Note that every transaction up to a position was received, and that no other is under way.

        Args:
            lsn: the position.
        """
        if lsn > self._idle_at:
            self._idle_at = lsn

    def reset(self, confirmed: int) -> None:
        """Forget everything: the slot is a new one, and what is buffered does not hold it back.

        Args:
            confirmed: where it begins; 0: not known.
        """
        self._open.clear()
        self._confirmed = self._idle_at = confirmed
