"""Find, show, replay and purge dead letters, each on a connection of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from delegator_schema.outbox import OUTBOX_QUEUE

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.postgres import dead_letters
from delegator.postgres.dead_letters import Content, DeadLetter, Selection
from delegator.postgres.operator_connection import operator_connection
from delegator.postgres.queue_table import QueueTable
from delegator.wire.rows import row_problem

_BATCH = 1_000
"""Number of jobs that one statement enqueues. It bounds the size of a transaction in the stream."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay of dead letters."""

    replayed: tuple[DeadLetter, ...]
    """Those that were enqueued again and are no dead letters any more."""
    in_queue: tuple[DeadLetter, ...]
    """Those that were left, because a job with this id is in the queue."""
    completed: frozenset[int]
    """The ids of those in `in_queue` whose job in the queue has its outcome. Such a row is deleted soon."""
    gone: tuple[DeadLetter, ...]
    """Those that another process replayed or purged in the meantime."""


async def find(settings: Settings, selection: Selection) -> list[DeadLetter]:
    """Return the selected dead letters.

    Raises:
        ConfigurationError: an id is not that of a dead letter, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "dlq") as connection:
        found = await dead_letters.find(connection, selection)
    missing = sorted(set(selection.ids or ()) - {letter.id for letter in found})
    if missing and selection.limit is None:
        raise ConfigurationError(f"no dead letter {', '.join(map(str, missing))}: see `delegator dlq list`")
    return found


async def content(settings: Settings, dead_letter_id: int) -> Content:
    """Return the payloads of a dead letter.

    Raises:
        ConfigurationError: there is none with this id, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "dlq") as connection:
        found = await dead_letters.content(connection, dead_letter_id)
    if found is None:
        raise ConfigurationError(f"no dead letter {dead_letter_id}: see `delegator dlq list`")
    return found


async def replay(settings: Settings, letters: Sequence[DeadLetter], *, signal: bool) -> Replayed:
    """Enqueue jobs and write operations again, and delete their dead letters. For each either both happen, or nothing.

    Args:
        settings: where the database is.
        letters: the dead letters; each goes to the queue it came from, or to the outbox.
        signal: keep the workflow, so that it gets the outcome. False: enqueue a plain job.

    Raises:
        ConfigurationError: a newer release wrote one of them, a queue's table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    for letter in letters:
        if (problem := row_problem(letter.format_version)) is not None:
            raise ConfigurationError(f"nothing was replayed: dead letter {letter.id}: {problem}")
    by_queue: dict[str, list[int]] = defaultdict(list)
    for letter in letters:
        by_queue[letter.queue].append(letter.id)
    done: set[int] = set()
    async with operator_connection(settings, "dlq") as connection:
        operations = by_queue.pop(OUTBOX_QUEUE, [])
        for start in range(0, len(operations), _BATCH):
            done |= await dead_letters.replay_operations(connection, operations[start : start + _BATCH])
        for queue, ids in by_queue.items():
            table = QueueTable(queue)
            for start in range(0, len(ids), _BATCH):
                done |= await dead_letters.replay(connection, table, ids[start : start + _BATCH], signal=signal)
        rest = [letter.id for letter in letters if letter.id not in done]
        left = {letter.id for letter in await dead_letters.find(connection, Selection(ids=rest))}
        completed: set[int] = set()
        for queue, ids in by_queue.items():
            if remaining := left.intersection(ids):
                completed |= await dead_letters.with_completed_row(connection, QueueTable(queue), remaining)
    return Replayed(
        tuple(letter for letter in letters if letter.id in done),
        tuple(letter for letter in letters if letter.id in left),
        frozenset(completed),
        tuple(letter for letter in letters if letter.id not in done and letter.id not in left),
    )


async def purge(settings: Settings, letters: Sequence[DeadLetter]) -> int:
    """Delete dead letters. Return how many existed.

    Raises:
        ConfigurationError: a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "dlq") as connection:
        return await dead_letters.purge(connection, [letter.id for letter in letters])
