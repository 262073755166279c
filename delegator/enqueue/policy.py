"""Decides whether and how long to wait inline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_ENOUGH = 0.5
_MEMORY = 0.2
_PROBE_EVERY_SECONDS = 10.0


@dataclass(slots=True)
class _Experience:
    in_time: float = 1.0
    probed_at: float = 0.0


class InlinePolicy:
    """Decides how long a local activity waits for the jobs it enqueued.

    Waiting holds a workflow task open. So the wait is zero for types whose jobs do not finish in time, except for a try
    every 10 seconds. It is also zero while half of the slots wait already.
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

    def wait_for(self, job_type: str, asked_ms: int | None, waiting: int) -> float:
        """Return how many seconds to wait for a job of this type; 0: its outcome will be signalled.

        Args:
            job_type: the delegated activity type.
            asked_ms: the wait that the call or the type sets; None: neither does.
            waiting: number of local activities that wait now.
        """
        wait = self._default_wait_seconds if asked_ms is None else asked_ms / 1000
        if wait <= 0 or self._default_wait_seconds <= 0 or waiting * 2 > self._slots:
            return 0.0
        known = self._experience.get(job_type)
        if known is not None and known.in_time < _ENOUGH:
            now = self._clock()
            if now - known.probed_at < _PROBE_EVERY_SECONDS:
                return 0.0
            known.probed_at = now
        return wait

    def learn(self, job_type: str, share_in_time: float) -> None:
        """Note the share of a request's jobs that finished in time."""
        known = self._experience.setdefault(job_type, _Experience())
        known.in_time += _MEMORY * (share_in_time - known.in_time)
        if known.in_time < _ENOUGH and not known.probed_at:
            known.probed_at = self._clock()
