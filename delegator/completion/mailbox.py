"""The outcomes that wait to be signalled to one workflow run, and when its next signal is due."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from delegator.wire.outcomes import Outcome

_MOST_OUTCOMES = 2_000
_MOST_BYTES = 256 * 1024
_FRAMING_BYTES = 12  # at most, for each outcome, besides its id and its body
_BUSY_BATCH = 4
_FIRST_PAUSE_SECONDS = 0.01
_SHORT_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 2.0
_PAUSE_SHARE = 0.25
_FREE_SIGNALS = 200
_PAUSE_PER_SIGNAL_SECONDS = 0.001
_LONGEST_SPARING_PAUSE_SECONDS = 2.0
# While a workflow task is open, the server buffers up to 100 signals or 2 MB. These limits leave room for six or seven
# workers that send to one run at once.
_UNSEEN_SIGNALS = 16
_UNSEEN_BYTES = 256 * 1024


class Delivery(StrEnum):
    """What happened to outcomes."""

    DELIVERED = "delivered"
    """The history of the run, or of the run that continues it, holds them."""
    LATE = "late"
    """Delivered, but the connection was disturbed meanwhile. So the workflow task that enqueued the jobs may be lost,
    and run again without having seen the signal."""
    ORPHANED = "orphaned"
    """No workflow waits for them: the chain of runs is closed."""

    @classmethod
    def of_all(cls, deliveries: Iterable[Delivery]) -> Delivery:
        """Return what happened to outcomes together: the worst of it."""
        seen = set(deliveries)
        return next((one for one in (cls.ORPHANED, cls.LATE) if one in seen), cls.DELIVERED)


class Parcel:
    """What one caller of `SignalSender.deliver` waits for."""

    __slots__ = ("_deliveries", "_left", "future")

    def __init__(self, count: int) -> None:
        """Wait for `count` outcomes."""
        self.future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        """The result for all outcomes together."""
        self._left = count
        self._deliveries: set[Delivery] = set()

    def delivered(self, delivery: Delivery) -> None:
        """Note the delivery of one outcome."""
        self._left -= 1
        self._deliveries.add(delivery)
        if not self._left and not self.future.done():
            self.future.set_result(Delivery.of_all(self._deliveries))

    def failed(self, error: Exception) -> None:
        """Pass an error to the caller. It may deliver again what was delivered already."""
        if not self.future.done():
            self.future.set_exception(error)


class Entry(NamedTuple):
    """One outcome to be signalled."""

    job_id: str
    outcome: Outcome
    parcel: Parcel


class Mailbox:
    """One run's outcomes that wait for the next signal."""

    __slots__ = (
        "_busy_since",
        "_bytes",
        "_pause",
        "_sent",
        "_unseen",
        "_unseen_bytes",
        "arrived",
        "entries",
        "hurried",
        "run_id",
    )

    def __init__(self, run_id: str) -> None:
        """Start empty.

        Args:
            run_id: the run.
        """
        self.run_id = run_id
        """The run to signal: the one that enqueued the jobs, or the one that was found to continue it."""
        self.entries: list[Entry] = []
        self.arrived = asyncio.Event()
        """Set when outcomes come."""
        self.hurried = False
        """Set by `hurry`: nothing waits any more."""
        self._bytes = 0
        self._busy_since: float | None = None
        self._pause = 0.0
        self._sent = 0
        self._unseen = self._unseen_bytes = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """Add outcomes to be sent."""
        self.entries += entries
        self._bytes += sum([_weight(entry) for entry in entries])
        self.arrived.set()

    def take(self) -> list[Entry]:
        """Remove and return the outcomes for the next signal."""
        count = size = 0
        for entry in self.entries:
            weight = _weight(entry)
            if count and (count >= _MOST_OUTCOMES or size + weight > _MOST_BYTES):
                break
            count += 1
            size += weight
        batch, self.entries = self.entries[:count], self.entries[count:]
        self._bytes -= size
        self._unseen += 1
        self._unseen_bytes += size
        self.arrived.clear()
        return batch

    def take_all(self) -> list[Entry]:
        """Remove and return everything that waits."""
        entries, self.entries = self.entries, []
        self._bytes = 0
        return entries

    def hurry(self) -> None:
        """Stop all waiting, because this process ends."""
        self.hurried = True
        self.arrived.set()

    @property
    def may_overflow(self) -> bool:
        """Whether one more signal could overflow the server's buffer, after those sent since `was_seen`."""
        following = max(min(self._bytes, _MOST_BYTES), _weight(self.entries[0])) if self.entries else 0
        return self._unseen >= _UNSEEN_SIGNALS or self._unseen_bytes + following > _UNSEEN_BYTES

    def was_seen(self) -> None:
        """Note that the signals sent so far have left the server's buffer, or were never held in it."""
        self._unseen = self._unseen_bytes = 0

    async def gather(self, pause_seconds: float) -> None:
        """Let outcomes gather for `pause_seconds`, or until they fill a signal."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_seconds):
                while len(self.entries) < _MOST_OUTCOMES and self._bytes < _MOST_BYTES and not self.hurried:
                    self.arrived.clear()
                    await self.arrived.wait()

    def pause_after(self, batch: int, now: float) -> float:
        """Return the pause before the next signal, in seconds.

        There is none while outcomes come one by one. While many come, the pause grows, up to a share of the time since
        the first of them. So the number of signals that are not full grows with the logarithm of a fan-out's length,
        and the delay stays in proportion to that length. After many signals to one run the pause grows further, because
        Temporal allows 10,000 a run.

        Args:
            batch: number of outcomes in the signal just sent.
            now: the monotonic clock, in seconds.
        """
        self._sent += 1
        if batch > _BUSY_BATCH:
            if self._busy_since is None:
                self._busy_since = now
            longest = max(_SHORT_PAUSE_SECONDS, min(_LONGEST_PAUSE_SECONDS, (now - self._busy_since) * _PAUSE_SHARE))
            self._pause = min(longest, self._pause * 2 or _FIRST_PAUSE_SECONDS)
        else:
            self._busy_since, self._pause = None, 0.0
        sparing = min(_LONGEST_SPARING_PAUSE_SECONDS, (self._sent - _FREE_SIGNALS) * _PAUSE_PER_SIGNAL_SECONDS)
        return max(self._pause, sparing)


def _weight(entry: Entry) -> int:
    return len(entry.outcome.body) + len(entry.job_id.encode()) + _FRAMING_BYTES
