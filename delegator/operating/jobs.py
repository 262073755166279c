"""Finds jobs and explains them, each call on a connection of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.operating.facts import read_facts
from delegator.operating.states import Explanation, QueueFacts, explain
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import DeadLetter, Selection
from delegator.postgres.job_views import JobRow, JobSelection, JobViews
from delegator.postgres.operator_connection import operator_connection


@dataclass(frozen=True, slots=True)
class ExplainedJob:
    """A job, and why it is where it is."""

    job: JobRow
    explanation: Explanation


async def find(settings: Settings, queues: Sequence[str], selection: JobSelection) -> list[ExplainedJob]:
    """Return the selected jobs of some queues, those first that were published first.

    Raises:
        ConfigurationError: a queue's table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "jobs") as connection:
        return await find_on(connection, queues, selection)


async def find_on(connection: Connection, queues: Sequence[str], selection: JobSelection) -> list[ExplainedJob]:
    """Do the same on a connection."""
    facts = await read_facts(connection, queues)
    found = []
    for queue in queues:
        found += await _find(connection, queue, selection, facts[queue])
    found.sort(key=lambda one: (one.job.published_at, one.job.job_id))
    return found[: selection.limit]


async def _find(connection: Connection, queue: str, selection: JobSelection, facts: QueueFacts) -> list[ExplainedJob]:
    return [ExplainedJob(row, explain(row, facts)) for row in await JobViews(queue).find(connection, selection)]


async def one(settings: Settings, job_id: str) -> tuple[ExplainedJob | None, list[DeadLetter]]:
    """Return a job, and its dead letters, the newest first.

    Raises:
        ConfigurationError: no declared queue has such a job, and there is no dead letter of it; or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "jobs") as connection:
        found = await find_on(connection, settings.queues, JobSelection(job_ids=(job_id,)))
        letters = await dead_letters.find(connection, Selection(job_id=job_id, newest_first=True))
    if not found and not letters:
        raise ConfigurationError(
            f"no job {job_id} in queues {', '.join(settings.queues)}, and no dead letter of it: a job that has ended"
            " is deleted"
        )
    return (found[0] if found else None), letters
