"""Brings claimed jobs to the polls that wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from http_workers.job import Job
from http_workers.slots import Slots

_KEPT_SECONDS: Final = 2.0
"""How long a job waits for the next poll of its type."""
_KNOWN_SECONDS: Final = 60.0
"""How long after its last poll a type counts as served here."""
_LOOK_SECONDS: Final = 0.2
_SNOOZE: Final = timedelta(seconds=1)
_LONGEST_SNOOZE: Final = timedelta(seconds=30)
_CROWD: Final = 100


class Demand(Slots):
    """Counts the jobs that polls wait for. A receiver reserves them before it asks the stream for as many messages.

    A poll may go away while the stream is asked for its job. So what is reserved may exceed what is wanted.
    """

    def __init__(self) -> None:
        """Nobody waits yet."""
        super().__init__(0)
        self._wanted = 0
        self._reserved = 0
        self._changed = asyncio.Event()

    @property
    def total(self) -> int:
        """How many jobs polls wait for."""
        return self._wanted

    def want(self, count: int) -> None:
        """Note that polls wait for more jobs, or for fewer."""
        self._wanted += count
        self._tell()

    async def free(self) -> None:
        """Wait until a job is wanted that nobody has reserved."""
        await self._changed.wait()

    async def reserve(self, most: int) -> int:
        """Wait for at least one wanted job, then reserve up to `most`."""
        while self._wanted <= self._reserved:  # another receiver may have reserved it
            await self._changed.wait()
            await asyncio.sleep(0)  # polls that come together are asked for together
        taken = min(most, self._wanted - self._reserved)
        self._reserved += taken
        self._tell()
        return taken

    def release(self, count: int = 1) -> None:
        """Give reserved jobs back."""
        self._reserved -= count
        self._tell()

    def _tell(self) -> None:
        if self._wanted > self._reserved:
            self._changed.set()
        else:
            self._changed.clear()


@dataclass(eq=False, slots=True)
class Waiting:
    """A poll that waits."""

    types: frozenset[str]
    """The types that its worker runs."""
    most: int
    """The most jobs it takes."""
    jobs: list[Job] = field(default_factory=list)
    """Those that it has got."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first one, and when it must not wait any longer."""

    @property
    def room(self) -> int:
        """How many more it takes."""
        return self.most - len(self.jobs)


class Dispatcher:
    """Gives each claimed job to the poll that has waited longest for its type.

    The stream gives any message to whoever asks. So a job may be claimed that no poll wants. It waits a moment for the
    next poll of its type, then it is given back.
    """

    def __init__(self, snooze: Callable[[Job, timedelta], None], refuse: Callable[[Job], None]) -> None:
        """Prepare.

        Args:
            snooze: gives a job back whose type is served here, but not now.
            refuse: gives a job back whose type is not served here.
        """
        self._snooze = snooze
        self._refuse = refuse
        self.demand = Demand()
        """What the waiting polls want."""
        self._waiting: dict[str, deque[Waiting]] = {}
        self._kept: dict[str, deque[tuple[float, Job]]] = {}
        self._polled_at: dict[str, float] = {}
        self.polls = 0
        """How many polls wait."""
        self._closed = False

    @property
    def types(self) -> list[str]:
        """The types that were polled lately."""
        since = asyncio.get_running_loop().time() - _KNOWN_SECONDS
        return sorted(name for name, at in self._polled_at.items() if at >= since)

    async def wait(self, types: Collection[str], most: int, seconds: float) -> list[Job]:
        """Wait for jobs of some types. Return them, and none if none came in time.

        Args:
            types: the types.
            most: largest number.
            seconds: how long to wait for the first.
        """
        poll = Waiting(frozenset(types), most)
        now = asyncio.get_running_loop().time()
        for name in poll.types:
            self._polled_at[name] = now
            self._take_kept(name, poll)
        if poll.jobs or not seconds or self._closed:
            return poll.jobs
        for name in poll.types:
            self._waiting.setdefault(name, deque()).append(poll)
        self.polls += 1
        self.demand.want(most)
        try:
            async with asyncio.timeout(seconds):
                await poll.woken.wait()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self._leave(poll)
            self.give_all(poll.jobs)
            raise
        self._leave(poll)
        return poll.jobs

    def _leave(self, poll: Waiting) -> None:
        self.polls -= 1
        self.demand.want(-poll.room)
        later = asyncio.get_running_loop().time()
        for name in poll.types:
            self._polled_at[name] = later
            line = self._waiting.get(name)
            if line is not None:
                line.remove(poll)
                if not line:
                    del self._waiting[name]
        poll.most = 0

    def _take_kept(self, name: str, poll: Waiting) -> None:
        kept = self._kept.get(name)
        while kept and poll.room:
            poll.jobs.append(kept.popleft()[1])
        if kept is not None and not kept:
            del self._kept[name]

    def give_all(self, jobs: Iterable[Job]) -> None:
        """Give jobs to others whose poll has gone away."""
        for job in jobs:
            self.give(job)

    def give(self, job: Job) -> None:
        """Give a claimed job to a poll."""
        for poll in self._waiting.get(job.job_type, ()):
            if poll.room > 0:
                poll.jobs.append(job)
                self.demand.want(-1)
                poll.woken.set()
                return
        now = asyncio.get_running_loop().time()
        if not self._closed and now - self._polled_at.get(job.job_type, float("-inf")) < _KNOWN_SECONDS:
            self._kept.setdefault(job.job_type, deque()).append((now, job))
        elif self._closed:
            self._snooze(job, timedelta(0))
        else:
            self._refuse(job)

    async def run(self) -> None:
        """Give jobs back for which no poll comes, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            before = now - _KEPT_SECONDS
            self._polled_at = {name: at for name, at in self._polled_at.items() if at > now - _KNOWN_SECONDS}
            for name in list(self._kept):
                kept = self._kept[name]
                delay = min(_SNOOZE * (1 + len(kept) / _CROWD), _LONGEST_SNOOZE)
                while kept and kept[0][0] < before:
                    self._snooze(kept.popleft()[1], delay)
                if not kept:
                    del self._kept[name]

    def close(self) -> None:
        """Let no poll wait any longer, and give back what waits for one."""
        self._closed = True
        for line in self._waiting.values():
            for poll in line:
                poll.woken.set()
        for kept in self._kept.values():
            for _, job in kept:
                self._snooze(job, timedelta(0))
        self._kept.clear()
