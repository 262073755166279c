"""Jobs that this worker can't begin: how long each is given back for, and what the log says of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from delegator.completion.failures import error_type
from delegator.contracts import DYNAMIC_TYPE
from delegator.postgres.dead_letters import Reason
from delegator.postgres.lease_keeper import holder_name
from delegator.postgres.queue_table import NextAttempt
from delegator.wire.options import refused_time
from http_workers.attempt import Ended
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics

_LOOK_SECONDS: Final = 1.0
"""How long this worker trusts what it knows about the types of the other workers."""
_LOG_SECONDS: Final = 60.0
"""Time between two log lines about one type."""
_WINDOW_SECONDS: Final = 30.0
_JOBS_PER_SECOND: Final = 100
"""About how many jobs of a type that nobody serves one worker takes and gives back in a second."""
_SERVED: Final = (timedelta(milliseconds=10), timedelta(seconds=1))
"""First and longest delay of a job that another live worker has a handler for."""
_UNSERVED: Final = (timedelta(milliseconds=500), timedelta(seconds=30))
"""First and longest delay of a job that no live worker has a handler for."""
_LONGEST: Final = timedelta(minutes=5)
"""Longest delay, however many such jobs there are."""
_LOCKED_GRACE: Final = timedelta(minutes=1)
"""How much of the grace a job may use while it waits for a key."""
_MOST_KINDS: Final = 1_000
"""Types that are remembered. Rows may name any number of types."""
_MILLISECOND: Final = timedelta(milliseconds=1)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kind:
    """The refused jobs of one type, for one reason."""

    logged_at: float = float("-inf")
    unlogged: int = 0
    """Jobs since the last log line."""
    window_at: float = 0.0
    in_window: int = 0
    """Jobs since `window_at`."""
    in_last_window: int = 0


class Refusals:
    """Bounds what jobs cost that go from worker to worker, and says loudly that they do.

    Pools with different types may share a queue. The stream gives any message to any of them, so a job may reach
    several workers before one that has its handler.
    """

    def __init__(self, metrics: WorkerMetrics, *, log_messages: bool = False) -> None:
        """Nothing is refused yet.

        Args:
            metrics: this process's series.
            log_messages: also log why arguments can't be decoded. The message may hold what a codec hides.
        """
        self._metrics = metrics
        self._log_messages = log_messages
        self._kinds: dict[tuple[str, Reason], _Kind] = {}
        self._served: set[str] = set()
        self._looked_at = float("-inf")

    async def look(self, served: Callable[[], Awaitable[set[str]]]) -> None:
        """Find out which types live workers of the queue have handlers for. It asks at most once a second.

        Args:
            served: asks the database.
        """
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._served = await served()
            self._looked_at = now

    def offer_after(self, job: Job, reason: Reason = Reason.UNKNOWN_TYPE) -> timedelta:
        """Return after how long to offer a job again whose type this worker does not know, or whose key it lacks.

        The delay doubles. It stays short while a live worker has the type. Else it is long, and longer the more such
        jobs there are: a backlog of them must not keep the database busy.

        Args:
            job: the job.
            reason: why it was refused.
        """
        # Which keys other workers have is not known. Mostly they have the same ones.
        is_served = reason is Reason.UNKNOWN_TYPE and self._is_served(job.job_type)
        first, longest = _SERVED if is_served else _UNSERVED
        delay = min(max(first, refused_time(job.row.options)), longest)
        if not is_served:
            kind = self._kind(job.job_type, reason)
            crowd = timedelta(seconds=max(kind.in_window, kind.in_last_window) / _JOBS_PER_SECOND)
            delay = min(max(delay, crowd), _LONGEST)
        # Jobs that were refused together come back spread over the time.
        return delay * random.uniform(0.75, 1.25)

    def _is_served(self, job_type: str) -> bool:
        """Return whether another live worker has a handler for a type, or one for all types."""
        return job_type in self._served or DYNAMIC_TYPE in self._served

    def note(self, ended: Ended, reason: Reason) -> None:
        """Count a refusal, and log it: the first of a type at once, then the number of jobs once a minute."""
        job = ended.job
        now = asyncio.get_running_loop().time()
        kind = self._kind(job.job_type, reason)
        if now - kind.window_at >= _WINDOW_SECONDS:
            kind.in_last_window = kind.in_window if now - kind.window_at < 2 * _WINDOW_SECONDS else 0
            kind.window_at, kind.in_window = now, 0
        kind.in_window += 1
        kind.unlogged += 1
        is_unknown = reason is Reason.UNKNOWN_TYPE
        is_served = is_unknown and self._is_served(job.job_type)
        # The name of an unknown type is no label: workflow code may make up any number of names.
        self._metrics.refused.labels(ended.counted_as, "served_elsewhere" if is_served else reason).inc()
        if now - kind.logged_at < _LOG_SECONDS:
            return
        extra: dict[str, object] = {"job_type": job.job_type, "reason": reason.value, "jobs": kind.unlogged}
        if is_unknown:
            extra["served_elsewhere"] = is_served
            if not is_served:
                extra["cure"] = "deploy its handler, or start a pool that has it"
        elif ended.failure is not None:
            cause = ended.failure.cause if ended.failure.HasField("cause") else ended.failure
            extra["error"] = error_type(cause)
            if ended.problem or self._log_messages:
                extra["detail"] = ended.problem or cause.message
        _log.log(logging.INFO if is_served else logging.ERROR, "jobs_refused", extra=extra)
        kind.logged_at, kind.unlogged = now, 0

    def _kind(self, job_type: str, reason: Reason) -> _Kind:
        kind = self._kinds.pop((job_type, reason), None) or _Kind()
        self._kinds[job_type, reason] = kind
        if len(self._kinds) > _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]  # the one that was refused longest ago
        return kind


def is_stored(ended: Ended) -> bool:
    """Return whether the row has the failure already: the job was refused before."""
    return ended.refusal is not None and bool(refused_time(ended.job.row.options))


def next_attempt(ended: Ended, delay: timedelta, failure: bytes | None) -> NextAttempt:
    """Return what the row of a failed attempt becomes. One without a handler or a key here does not count.

    Args:
        ended: the attempt.
        delay: time until the next one.
        failure: what went wrong, encoded; None: the row has it.
    """
    job = ended.job
    delay_ms = delay // _MILLISECOND
    before = refused_time(job.row.options)
    refused = before + delay
    if ended.refusal in (Reason.UNKNOWN_TYPE, Reason.LOCKED):
        if ended.refusal is Reason.LOCKED:
            refused = max(before, min(refused, _LOCKED_GRACE))
        return NextAttempt(*job.held, delay_ms, failure, job.attempt - 1, ended.refusal.value, refused // _MILLISECOND)
    began = time.monotonic() - job.taken_at if job.taken_at else None
    attempt = NextAttempt(
        *job.held,
        delay_ms,
        failure,
        job.attempt,
        error=None if ended.failure is None else error_type(ended.failure),
        started_ms=None if began is None else round((time.time() - began) * 1000),
        holder=holder_name(),
    )
    if ended.refusal is None:
        return attempt
    return attempt._replace(refused_reason=ended.refusal.value, refused_ms=refused // _MILLISECOND)
