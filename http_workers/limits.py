"""The limits of types in one worker process: concurrency and rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from delegator.contracts import DelegatedType, Handler

_FIRST_GUESS_SECONDS = 1.0
_WEIGHT = 0.2
_SHORTEST_SNOOZE_SECONDS = 1.0
_LONGEST_SNOOZE_SECONDS = 60.0


class _Limit:
    """The limits of one type."""

    def __init__(self, declared: DelegatedType) -> None:
        self.most = declared.max_concurrent
        self.permits = None if self.most is None else asyncio.Semaphore(self.most)
        self._interval = 0.0 if declared.max_per_second is None else 1.0 / declared.max_per_second
        self._run_seconds = _FIRST_GUESS_SECONDS
        self._next_start = 0.0
        self._next_turn = 0.0
        self.in_hand = 0
        """Number of jobs that run or wait in a slot."""
        self.unstarted = 0
        """Number of these jobs that have not started yet."""

    @property
    def waiting(self) -> int:
        """How many jobs wait in a slot."""
        return self.unstarted if self.most is None else max(0, self.in_hand - self.most)

    def is_free(self, now: float) -> bool:
        """Return whether another job could start at once."""
        if self.most is not None and self.in_hand >= self.most:
            return False
        return not self._interval or (not self.unstarted and self._next_start <= now)

    def pause(self, now: float) -> float:
        """Reserve the next start that the rate allows. Return the seconds until then."""
        start = max(now, self._next_start)
        self._next_start = start + self._interval
        return start - now

    def ran(self, seconds: float) -> None:
        """Note how long a job ran."""
        self._run_seconds += _WEIGHT * (seconds - self._run_seconds)

    def turn(self, now: float) -> float:
        """Return for how many seconds to snooze one more job."""
        spacing = max(self._interval, self._run_seconds / self.most if self.most else 0.0)
        first = now + (self.in_hand * spacing)
        self._next_turn = max(first, self._next_turn + spacing)
        if self._next_turn - now > _LONGEST_SNOOZE_SECONDS:  # begin again: jobs are spread over the time until then
            self._next_turn = first
        return max(_SHORTEST_SNOOZE_SECONDS, min(self._next_turn - now, _LONGEST_SNOOZE_SECONDS))


class TypeLimits:
    """Applies the limits of types. A type without limits costs nothing."""

    def __init__(self, handlers: Mapping[str, Handler], most_waiting: int = 0) -> None:
        """Read the limits.

        Args:
            handlers: by delegated activity type.
            most_waiting: number of jobs of all types that may wait in a slot for their type's limits. More jobs are
                snoozed, so that a backlog of a limited type does not take the slots of other types. Each type may have
                its share of this number waiting, though others have taken more than theirs: at most twice as many wait.
        """
        self._limits = {
            name: _Limit(handler.type)
            for name, handler in handlers.items()
            if handler.type.max_concurrent is not None or handler.type.max_per_second is not None
        }
        self._most_waiting = most_waiting

    def limited(self, job_type: str) -> bool:
        """Return whether a type has limits."""
        return job_type in self._limits

    def admit(self, job_type: str) -> timedelta | None:
        """Give a job of a limited type a slot. It starts when `permit` allows it.

        Returns:
            None if it may have the slot; else how long to snooze it.
        """
        limit = self._limits[job_type]
        now = asyncio.get_running_loop().time()
        if not limit.is_free(now) and not self._may_wait(limit):
            return timedelta(seconds=limit.turn(now))
        limit.in_hand += 1
        limit.unstarted += 1
        return None

    def _may_wait(self, limit: _Limit) -> bool:
        """Return whether one more job of a type may wait in a slot. Each type has a share that no other type takes."""
        if limit.waiting < self._most_waiting // len(self._limits):
            return True
        return sum(each.waiting for each in self._limits.values()) < self._most_waiting

    @asynccontextmanager
    async def permit(self, job_type: str) -> AsyncIterator[None]:
        """Wait until an admitted job may start. It counts as running until the context ends."""
        limit = self._limits[job_type]
        loop = asyncio.get_running_loop()
        has_permit = False
        try:
            try:
                if limit.permits is not None:
                    await limit.permits.acquire()
                    has_permit = True
                if pause := limit.pause(loop.time()):
                    await asyncio.sleep(pause)
            finally:
                limit.unstarted -= 1
            began = loop.time()
            yield
            limit.ran(loop.time() - began)
        finally:
            limit.in_hand -= 1
            if limit.permits is not None and has_permit:
                limit.permits.release()
