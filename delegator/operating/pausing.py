"""Pauses queues and types, resumes them, and waits until they are empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.operating.facts import read_facts
from delegator.operating.states import QueueFacts
from delegator.postgres import leases, pauses
from delegator.postgres.connections import Connection
from delegator.postgres.leases import WorkerLease
from delegator.postgres.operator_connection import operator_connection
from delegator.postgres.queue_pause import PauseStatements
from delegator.postgres.server_views import database_now

_LOOK_SECONDS: Final = 0.1
_DRAIN_LOOK_SECONDS: Final = 0.5
MOST_COUNTED: Final = 10_000
"""How many jobs of a queue are counted while it drains."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What a pause has done in a queue."""

    queue: str
    was_paused: bool
    """Whether it was paused already."""
    jobs: int
    """How many jobs of it are paused now."""
    running: int
    """How many jobs of it still run."""
    unaware: Sequence[str]
    """Live workers of an earlier release. They start new jobs until maintenance pauses these."""


async def pause(
    settings: Settings,
    queues: Sequence[str],
    job_type: str | None,
    *,
    paused_by: str,
    note: str | None,
    wait: bool,
) -> list[Paused]:
    """Pause queues, or a type in them. When this returns, their live workers know.

    Args:
        settings: where the database is.
        queues: the queues.
        job_type: the type; None: all types.
        paused_by: who pauses, for people.
        note: why; None: not said.
        wait: also wait until no attempt runs.

    Raises:
        ConfigurationError: a queue's table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    done = []
    async with operator_connection(settings, "pause") as connection:
        begun = {queue: await pauses.begin(connection, queue, job_type, paused_by, note) for queue in queues}
        await pauses.announce(connection)
        for queue in queues:
            await PauseStatements(queue).pause_all(connection)
        unaware = await _wait_for_workers(connection, queues)
        for queue in queues:
            statements = PauseStatements(queue)
            await statements.pause_all(connection)
            running = await statements.running(connection, job_type)
            while wait and running:
                await asyncio.sleep(_LOOK_SECONDS)
                running = await statements.running(connection, job_type)
            # Maintenance may have paused some of them.
            jobs = await statements.paused(connection, job_type)
            done.append(Paused(queue, not begun[queue], jobs, running, unaware.get(queue, ())))
    return done


async def resume(settings: Settings, queues: Sequence[str], job_type: str | None) -> dict[str, int | None]:
    """Resume queues, or a type in them.

    Args:
        settings: where the database is.
        queues: the queues.
        job_type: the type; None: what was paused as a whole queue.

    Returns:
        By queue: how many jobs were freed; None: it was not paused.

    Raises:
        ConfigurationError: a queue's table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    freed: dict[str, int | None] = {}
    async with operator_connection(settings, "pause") as connection:
        for queue in queues:
            statements = PauseStatements(queue)
            # Maintenance may free them first, as soon as others see that the pause has ended.
            async with connection.transaction():
                ended = await pauses.end(connection, queue, job_type)
                jobs = await statements.to_free(connection)
            await statements.free(connection)
            freed[queue] = jobs if ended or jobs else None
        await pauses.announce(connection)
    return freed


async def drain(
    settings: Settings,
    queues: Sequence[str],
    job_type: str | None,
    *,
    limit: timedelta | None,
    tell: Callable[[int], None],
) -> int:
    """Wait until the jobs that are in queues now have ended and are delivered.

    Args:
        settings: where the database is.
        queues: the queues.
        job_type: the type; None: all types.
        limit: how long to wait; None: as long as it takes.
        tell: called with the number of jobs that are left, whenever it was read.

    Returns:
        How many jobs are left. At most `MOST_COUNTED` are counted.

    Raises:
        ConfigurationError: a queue is paused or has no worker, its table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    loop = asyncio.get_running_loop()
    until = None if limit is None else loop.time() + limit.total_seconds()
    async with operator_connection(settings, "drain") as connection:
        before = await database_now(connection)
        while True:
            jobs = await _count_left(connection, queues, job_type, before)
            tell(jobs)
            if jobs:
                _refuse_undrainable(await read_facts(connection, queues), job_type)
            if not jobs or (until is not None and loop.time() >= until):
                return jobs
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)


async def left(
    settings: Settings, queues: Sequence[str], job_type: str | None, before: datetime | None
) -> tuple[datetime, int]:
    """Return how many of the jobs that were in queues at a time are left, without waiting for them.

    Args:
        settings: where the database is.
        queues: the queues.
        job_type: the type; None: all types.
        before: the time, by the database's clock; None: now.

    Returns:
        The time, and the number. At most `MOST_COUNTED` of a queue are counted.

    Raises:
        ConfigurationError: a queue is paused, its table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "drain") as connection:
        since = before or await database_now(connection)
        jobs = await _count_left(connection, queues, job_type, since)
        if jobs:
            _refuse_undrainable(await read_facts(connection, queues), job_type)
        return since, jobs


async def _count_left(connection: Connection, queues: Sequence[str], job_type: str | None, before: datetime) -> int:
    counts = [await PauseStatements(queue).left(connection, job_type, before, MOST_COUNTED) for queue in queues]
    return sum(counts)


def _refuse_undrainable(facts: dict[str, QueueFacts], job_type: str | None) -> None:
    for queue, known in facts.items():
        for one in known.pauses:
            if one.job_type is None:
                raise ConfigurationError(
                    f"queue {queue} is paused, so it can't drain: `delegator queues resume {queue}`"
                )
            if job_type in (None, one.job_type):
                raise ConfigurationError(
                    f"type {one.job_type} is paused, so it can't drain: `delegator types resume {one.job_type}`"
                )


async def _wait_for_workers(connection: Connection, queues: Sequence[str]) -> dict[str, list[str]]:
    """Wait until each live worker has said that it knows of pauses. Return those that never say so."""
    while True:
        live = await leases.workers(connection, queues)
        unaware = [worker for worker in live if not worker.has_pauses]
        if all(_never_says(worker) for worker in unaware):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    by_queue: dict[str, list[str]] = {}
    for worker in unaware:
        by_queue.setdefault(worker.queue, []).append(worker.holder)
    return by_queue


def _never_says(worker: WorkerLease) -> bool:
    """Return whether a worker is of a release that says nothing of pauses. One that has just started has no report."""
    if worker.report is None:
        return worker.version is None
    return worker.has_pauses is None
