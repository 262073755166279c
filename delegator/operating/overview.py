"""The state of all queues on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from delegator_schema.queues import queue_slot

from delegator.config import Settings
from delegator.operating.facts import read_facts
from delegator.operating.states import QueueFacts, State
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import DeadLetterCount
from delegator.postgres.job_views import JobCount, JobViews
from delegator.postgres.operator_connection import operator_connection
from delegator.postgres.server_views import Slot, database_now, slots

MOST_COUNTED: Final = 100_000
"""How many rows of a queue are counted. A longer queue is shown as having at least so many jobs."""
_LATELY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TypeState:
    """The jobs of one type of a queue."""

    job_type: str
    jobs: Counter[State] = field(default_factory=Counter)
    """Their number, by state."""
    paused: int = 0
    """How many of those that wait are paused."""
    oldest: datetime | None = None
    """When the oldest unfinished one was enqueued; None: there is none."""
    last_error: str | None = None
    """An error of one of those that back off; None: there is none."""
    counts: Sequence[JobCount] = ()
    """The same in detail."""
    is_served: bool = True
    """Whether a live worker has a handler for it."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue."""

    queue: str
    facts: QueueFacts
    types: Sequence[TypeState]
    """Its types with jobs, those with most jobs first."""
    is_partial: bool
    """Whether it has more jobs than were counted."""
    slot: Slot | None
    """Its replication slot; None: there is none."""

    @property
    def jobs(self) -> Counter[State]:
        """The number of its jobs, by state."""
        return sum((one.jobs for one in self.types), Counter())

    @property
    def paused(self) -> int:
        """How many of its jobs are paused."""
        return sum(one.paused for one in self.types)

    @property
    def oldest(self) -> datetime | None:
        """When its oldest unfinished job was enqueued; None: it has none."""
        return min((one.oldest for one in self.types if one.oldest is not None), default=None)


@dataclass(frozen=True, slots=True)
class Overview:
    """All queues."""

    now: datetime
    """The database's clock."""
    queues: Sequence[QueueState]
    has_leader: bool
    """Whether a maintenance process leads."""
    dead: Sequence[DeadLetterCount]
    """The dead letters of the last hour, by queue, type, reason and error."""

    @property
    def troubles(self) -> list[str]:
        """What needs an operator, a sentence each."""
        found = [] if self.has_leader else ["no maintenance process runs: start `delegator serve`"]
        for queue in self.queues:
            found += _troubles_of(queue)
        return found


def size_text(count: int | None) -> str:
    """Return a number of bytes for people; None: it is not known."""
    if count is None:
        return "not known"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _troubles_of(queue: QueueState) -> list[str]:
    found = []
    unfinished = queue.jobs[State.WAITING] + queue.jobs[State.BACKING_OFF]
    if unfinished and not queue.facts.workers:
        found.append(f"queue {queue.queue}: no live worker: `http-worker --queue {queue.queue} --import MODULE`")
    elif unserved := [one.job_type for one in queue.types if not one.is_served]:
        found.append(f"queue {queue.queue}: no live worker has a handler for {', '.join(sorted(unserved))}")
    found += [
        f"queue {queue.queue}: type {one.job_type} fails: {one.jobs[State.BACKING_OFF]} jobs back off"
        + (f", with {one.last_error}" if one.last_error else "")
        for one in queue.types
        if one.jobs[State.BACKING_OFF]
    ]
    if queue.slot is None:
        found.append(f"queue {queue.queue}: no replication slot: is Sequin or `delegator relay` running?")
    elif not queue.slot.active:
        found.append(
            f"queue {queue.queue}: nothing reads slot {queue.slot.name}: is Sequin or `delegator relay` running?"
        )
    return found


async def read_overview(settings: Settings) -> Overview:
    """Read it on a connection of its own.

    Raises:
        ConfigurationError: a queue's table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "status") as connection:
        return await overview_on(connection, settings)


async def overview_on(connection: Connection, settings: Settings, *, dead: bool = True) -> Overview:
    """Do the same on a connection.

    Args:
        connection: where to look.
        settings: the queues.
        dead: whether to count the dead letters. Operators' roles may read them, others may not.
    """
    facts = await read_facts(connection, settings.queues)
    found = await slots(connection, [queue_slot(queue, settings.slot) for queue in settings.queues])
    by_name = {slot.name: slot for slot in found}
    queues = []
    for queue in settings.queues:
        counts = await JobViews(queue).counts(connection, MOST_COUNTED)
        queues.append(
            QueueState(
                queue,
                facts[queue],
                _types(counts, facts[queue]),
                sum(count.jobs for count in counts) >= MOST_COUNTED,
                by_name.get(queue_slot(queue, settings.slot)),
            )
        )
    return Overview(
        now=await database_now(connection),
        queues=queues,
        has_leader=any(one.has_leader for one in facts.values()),
        dead=await dead_letters.counts(connection, settings.queues, _LATELY) if dead else (),
    )


def _types(counts: Sequence[JobCount], facts: QueueFacts) -> list[TypeState]:
    by_type: dict[str, list[JobCount]] = {}
    for count in counts:
        by_type.setdefault(count.job_type, []).append(count)
    types = [_type(job_type, found, facts) for job_type, found in by_type.items()]
    return sorted(types, key=lambda one: (-one.jobs.total(), one.job_type))


def _type(job_type: str, counts: Sequence[JobCount], facts: QueueFacts) -> TypeState:
    jobs: Counter[State] = Counter()
    for count in counts:
        jobs[State(count.state)] += count.jobs
    ended = (State.DELIVERING, State.STORED)
    return TypeState(
        job_type,
        jobs,
        sum(count.jobs for count in counts if count.paused),
        min((count.oldest for count in counts if count.state not in ended), default=None),
        next((count.last_error for count in counts if count.state == State.BACKING_OFF), None),
        counts=counts,
        is_served=facts.serves(job_type) or not facts.workers,
    )
