"""Decides whether and how long to wait inline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

_ENOUGH = 0.5
_MEMORY = 0.2
_PROBE_EVERY_SECONDS = 10.0
_SHORTEST_WAIT_SECONDS: Final = 0.01  # A job that just begins takes about as long, even on an idle machine.


class InlineLimit(NamedTuple):
    """How long a local activity may wait for some jobs."""

    seconds: float
    """The longest wait once they are enqueued; 0: their outcomes will be signalled."""
    until: float
    """The end of the wait at the latest, in seconds of the policy's clock."""

    def merged(self, other: InlineLimit) -> InlineLimit:
        """Return the limit of jobs that are waited for together: the larger ones."""
        return InlineLimit(max(self.seconds, other.seconds), max(self.until, other.until))


NO_WAIT: Final = InlineLimit(0.0, 0.0)
"""The limit of jobs whose outcomes will be signalled."""


@dataclass(slots=True)
class _Experience:
    in_time: float = 1.0
    probed_at: float = 0.0


class InlinePolicy:
    """Decides how long a local activity waits for the jobs it enqueued.

    Waiting holds a workflow task open. So all waits of a workflow task end when the task is as old as its longest wait
    may be. The wait is zero for types whose jobs do not finish in time, except for a try every 10 seconds. It is also
    zero while half of the slots wait already.
    """

    def __init__(self, default_wait_seconds: float, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the policy.

        Args:
            default_wait_seconds: the wait unless a type or a call sets another; 0: never wait.
            slots: number of local activities that may wait at a time.
            clock: returns the monotonic time, in seconds.
        """
        self._default_wait_seconds = default_wait_seconds
        self._slots = slots
        self._clock = clock
        self._experience: dict[str, _Experience] = {}

    def limit_for(self, job_type: str, asked_ms: int | None, waiting: int, task_began_at: float | None) -> InlineLimit:
        """Return how long to wait for a job of this type.

        The wait ends when the workflow task is as old as the worker's wait allows, or as the wait asked for, if that is
        longer.

        Args:
            job_type: the delegated activity type.
            asked_ms: the wait that the call or the type sets; None: neither does.
            waiting: number of local activities that wait now.
            task_began_at: from when on the workflow task's age counts, by the policy's clock; None: from now on.
        """
        default = self._default_wait_seconds
        seconds = default if asked_ms is None else asked_ms / 1000
        if seconds <= 0 or default <= 0 or waiting * 2 > self._slots:
            return NO_WAIT
        now = self._clock()
        until = (now if task_began_at is None else task_began_at) + max(seconds, default)
        if until - now < _SHORTEST_WAIT_SECONDS:
            return NO_WAIT
        known = self._experience.get(job_type)
        if known is not None and known.in_time < _ENOUGH:
            if now - known.probed_at < _PROBE_EVERY_SECONDS:
                return NO_WAIT
            known.probed_at = now
        return InlineLimit(seconds, until)

    def seconds_left(self, limit: InlineLimit) -> float:
        """Return how long to wait from now on."""
        return max(0.0, min(limit.seconds, limit.until - self._clock()))

    def learn(self, job_type: str, share_in_time: float, share_of_wait: float = 1.0) -> None:
        """Note the share of a request's jobs that finished in time.

        Args:
            job_type: the delegated activity type.
            share_in_time: from 0 to 1.
            share_of_wait: which part of its longest wait the request had, from 0 to 1. A wait that the workflow task's
                age has cut short says less about the type.
        """
        known = self._experience.setdefault(job_type, _Experience())
        known.in_time += _MEMORY * share_of_wait * (share_in_time - known.in_time)
        if known.in_time < _ENOUGH and not known.probed_at:
            known.probed_at = self._clock()
