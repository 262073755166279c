"""The outcomes that wait to be signalled to one workflow run, and when its next signal is due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from delegator.wire.outcomes import Outcome

_MOST_OUTCOMES = 2_000
_MOST_BYTES = 256 * 1024
_FRAMING = 12  # bytes of an outcome beside its id and its body, at most
_BUSY_BATCH = 4
_FIRST_PAUSE = 0.01
_SHORT_PAUSE = 0.25
_LONGEST_PAUSE = 2.0
_PAUSE_SHARE = 0.25
_FREE_SIGNALS = 200
_PAUSE_PER_SIGNAL = 0.001
_LONGEST_SPARING_PAUSE = 2.0
# The server's buffer has room for 100 signals or 2 MB beside a workflow task: for those of six or seven workers, if all
# have outcomes for one run at once.
_UNSEEN_SIGNALS = 16
_UNSEEN_BYTES = 256 * 1024


class Delivery(StrEnum):
    """What became of outcomes."""

    DELIVERED = "delivered"
    """They stand in the history of the run, or of the one that follows it."""
    ORPHANED = "orphaned"
    """Nobody waits any more: the chain of runs is closed."""


class Parcel:
    """What one caller of `SignalSender.deliver` waits for."""

    __slots__ = ("_left", "_orphaned", "future")

    def __init__(self, count: int) -> None:
        """Wait for `count` outcomes."""
        self.future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        """What became of them all."""
        self._left = count
        self._orphaned = False

    def delivered(self, delivery: Delivery) -> None:
        """Take note of one outcome."""
        self._left -= 1
        self._orphaned = self._orphaned or delivery is Delivery.ORPHANED
        if not self._left and not self.future.done():
            self.future.set_result(Delivery.ORPHANED if self._orphaned else Delivery.DELIVERED)

    def failed(self, error: Exception) -> None:
        """Let the caller see what went wrong; what was delivered before may be delivered again."""
        if not self.future.done():
            self.future.set_exception(error)


class Entry(NamedTuple):
    """One outcome on its way."""

    job_id: str
    outcome: Outcome
    parcel: Parcel


class Mailbox:
    """One run's outcomes, until a signal takes them along."""

    __slots__ = (
        "_bytes",
        "_pause",
        "_pouring_since",
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
        """The run that is open, as far as we know: the one that enqueued the jobs, or one that continues it."""
        self.entries: list[Entry] = []
        self.arrived = asyncio.Event()
        """Set when outcomes come."""
        self.hurried = False
        """Nothing is to be waited for any more."""
        self._bytes = 0
        self._pouring_since: float | None = None
        self._pause = 0.0
        self._sent = 0
        self._unseen = self._unseen_bytes = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """Take outcomes that are to be sent."""
        self.entries += entries
        self._bytes += sum([_weight(entry) for entry in entries])
        self.arrived.set()

    def take(self) -> list[Entry]:
        """Return what the next signal carries."""
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

    def hurry(self) -> None:
        """Wait for nothing any more: this process ends."""
        self.hurried = True
        self.arrived.set()

    @property
    def may_overflow(self) -> bool:
        """Whether another signal, beside those sent since `was_seen`, could be too much for one workflow task."""
        following = max(min(self._bytes, _MOST_BYTES), _weight(self.entries[0])) if self.entries else 0
        return self._unseen >= _UNSEEN_SIGNALS or self._unseen_bytes + following > _UNSEEN_BYTES

    def was_seen(self) -> None:
        """Take note that what was sent so far stands in history, or that no workflow task kept it from that."""
        self._unseen = self._unseen_bytes = 0

    async def gather(self, pause: float) -> None:
        """Let outcomes gather for `pause` seconds, or until they fill a signal: from then on waiting saves none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                while len(self.entries) < _MOST_OUTCOMES and self._bytes < _MOST_BYTES and not self.hurried:
                    self.arrived.clear()
                    await self.arrived.wait()

    def pause_after(self, batch: int, now: float) -> float:
        """Return the pause before the next signal: none while outcomes come one by one, growing while they pour in.

        It grows to a share of the time for which they have been pouring, so that the signals of a fan-out, as far as
        they are not full, grow with the logarithm of its length, and their delay stays in proportion to it. A run that
        has got many signals is spared more of those: Temporal allows 10,000 a run.

        Args:
            batch: outcomes in the signal just sent.
            now: monotonic, in seconds.
        """
        self._sent += 1
        if batch > _BUSY_BATCH:
            if self._pouring_since is None:
                self._pouring_since = now
            longest = max(_SHORT_PAUSE, min(_LONGEST_PAUSE, (now - self._pouring_since) * _PAUSE_SHARE))
            self._pause = min(longest, self._pause * 2 or _FIRST_PAUSE)
        else:
            self._pouring_since, self._pause = None, 0.0
        sparing = min(_LONGEST_SPARING_PAUSE, (self._sent - _FREE_SIGNALS) * _PAUSE_PER_SIGNAL)
        return max(self._pause, sparing)


def _weight(entry: Entry) -> int:
    return len(entry.outcome.body) + len(entry.job_id.encode()) + _FRAMING
