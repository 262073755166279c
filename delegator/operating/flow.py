"""The way of the jobs, a step after the other: enqueue, stream, claim, run, deliver."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Final

from delegator_schema.queues import queue_table

from delegator.operating.overview import Overview, QueueState
from delegator.operating.states import State
from delegator.postgres.connections import Connection
from delegator.postgres.job_views import AGES
from delegator.postgres.lease_reports import RUN_BOUNDS, RecentRuns
from delegator.postgres.server_views import Activity, activity

_WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way."""

    name: str
    """`enqueue`, `stream`, `claim`, `run` or `deliver`."""
    jobs: int | None
    """How many jobs are at it; None: not counted here."""
    per_second: float | None
    """How many jobs passed it in a second, over the last minute; None: not known."""
    p50: timedelta | None
    """Half of the jobs are younger there than this; None: there are none, or it is not known."""
    p99: timedelta | None
    """99 of 100 of them are younger than this."""
    oldest: timedelta | None
    """The age of the oldest job at it."""
    ended_p50: timedelta | None = None
    """Half of the attempts of the last minute took less than this; None: none has ended, or it is not known."""
    ended_p99: timedelta | None = None
    """99 of 100 of them took less than this."""
    note: str = ""
    """More about it, in a few words."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How many rows a queue's table got and lost in a second."""

    inserted: float
    deleted: float


class RateMeter:
    """Computes rates from the counters that PostgreSQL keeps of each table."""

    def __init__(self, queues: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a reading.

        Args:
            queues: the queues.
            clock: in seconds.
        """
        self._tables = {queue_table(queue): queue for queue in queues}
        self._clock = clock
        self._readings: deque[tuple[float, dict[str, Activity]]] = deque()

    async def read(self, connection: Connection) -> None:
        """Take a reading."""
        found = await activity(connection, list(self._tables))
        self._readings.append((self._clock(), {self._tables[one.table]: one for one in found}))
        while self._readings[-1][0] - self._readings[0][0] > _WINDOW_SECONDS and len(self._readings) > 2:
            self._readings.popleft()

    def rates(self) -> Mapping[str, Rates]:
        """Return the rates by queue, over the last minute; nothing before the second reading."""
        if len(self._readings) < 2:
            return {}
        (began, first), (ended, last) = self._readings[0], self._readings[-1]
        seconds = ended - began
        return {
            queue: Rates(
                max(0, one.inserted - first[queue].inserted) / seconds,
                max(0, one.deleted - first[queue].deleted) / seconds,
            )
            for queue, one in last.items()
            if queue in first and seconds > 0
        }

    def estimated_rows(self) -> Mapping[str, int]:
        """Return how many rows the planner thinks that each queue has."""
        return {queue: one.estimated_rows for queue, one in self._readings[-1][1].items()} if self._readings else {}


def flow(overview: Overview, queue: QueueState, rates: Rates | None) -> list[Step]:
    """Return the steps of a queue.

    Args:
        overview: knows the time.
        queue: the queue.
        rates: of its table; None: not known.
    """
    waiting = _classes(queue, (State.WAITING,))
    delivering = _classes(queue, (State.DELIVERING,))
    workers = queue.facts.workers
    begun = [job.started_at for worker in workers for job in worker.jobs]
    ages = sorted(overview.now - moment for moment in begun)
    slots = sum(worker.slots or 0 for worker in workers)
    used = sum(worker.running or 0 for worker in workers)
    streaming, to_deliver = (_oldest(overview, queue, state) for state in (State.WAITING, State.DELIVERING))
    unfinished = sum(queue.jobs[state] for state in (State.WAITING, State.RUNNING, State.BACKING_OFF))
    oldest = None if queue.oldest is None else overview.now - queue.oldest
    return [
        Step("enqueue", unfinished, None if rates is None else rates.inserted, None, None, oldest),
        Step(
            "stream",
            queue.jobs[State.WAITING],
            None,
            quantile(waiting, 0.5, streaming),
            quantile(waiting, 0.99, streaming),
            streaming,
        ),
        Step("claim", None, claims_per_second(queue), None, None, None, note=f"{used} of {slots} slots in use"),
        Step(
            "run",
            queue.jobs[State.RUNNING],
            None,
            _nth(ages, 0.5),
            _nth(ages, 0.99),
            ages[-1] if ages else None,
            run_quantile(queue, 0.5),
            run_quantile(queue, 0.99),
        ),
        Step(
            "deliver",
            queue.jobs[State.DELIVERING],
            None if rates is None else rates.deleted,
            quantile(delivering, 0.5, to_deliver),
            quantile(delivering, 0.99, to_deliver),
            to_deliver,
        ),
    ]


def claims_per_second(queue: QueueState) -> float | None:
    """Return how many jobs the live workers of a queue have claimed in a second lately; None: none of them says."""
    recent = _recent(queue)
    return sum(one.claimed / one.seconds for one in recent) if recent else None


def run_quantile(queue: QueueState, share: float) -> timedelta | None:
    """Return how long handlers of a queue have run lately: the upper bound for a share of the attempts that ended."""
    ended = [sum(counts) for counts in zip(*(one.durations for one in _recent(queue)), strict=True)]
    return quantile(ended, share, bounds=RUN_BOUNDS)


def _recent(queue: QueueState) -> list[RecentRuns]:
    return [recent for worker in queue.facts.workers if (recent := worker.recent) is not None]


def quantile(
    classes: Sequence[int], share: float, most: timedelta | None = None, *, bounds: Sequence[float] = AGES
) -> timedelta | None:
    """Return the upper bound of the class in which a share of the jobs is reached; None: there are no jobs.

    Args:
        classes: the number of jobs in each class.
        share: between 0 and 1.
        most: the largest value, such as the age of the oldest; None: not known.
        bounds: upper bounds of the classes, in seconds. What is beyond the last counts as this long.
    """
    total = sum(classes)
    if not total:
        return None
    reached = next(index for index, count in enumerate(accumulate(classes)) if count >= share * total)
    bound = timedelta(seconds=bounds[min(reached, len(bounds) - 1)])
    return bound if most is None else min(bound, most)


def _classes(queue: QueueState, states: Collection[str]) -> list[int]:
    classes = [0] * (len(AGES) + 1)
    for one in queue.types:
        for count in one.counts:
            if count.state in states and not count.paused:
                classes[count.age_class] += count.jobs
    return classes


def _oldest(overview: Overview, queue: QueueState, state: State) -> timedelta | None:
    found = [count.oldest for one in queue.types for count in one.counts if count.state == state]
    return overview.now - min(found) if found else None


def _nth(ages: Sequence[timedelta], share: float) -> timedelta | None:
    return ages[min(int(len(ages) * share), len(ages) - 1)] if ages else None
