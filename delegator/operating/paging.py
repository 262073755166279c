"""Reads jobs and dead letters a page at a time. What a page reads has a bound, however long the table is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from delegator.operating.facts import read_facts
from delegator.operating.jobs import ExplainedJob
from delegator.operating.states import explain
from delegator.postgres import dead_letter_places, dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import DeadLetter, LetterPlace, Selection
from delegator.postgres.job_views import JobRow, JobSelection, JobViews, Place

MOST_LOOKED_AT: Final = 20_000
"""How many rows of a queue a page looks at for those that its filters select."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs."""

    jobs: Sequence[ExplainedJob]
    """Those that were published first come first."""
    following: Place | None
    """Behind it the next page begins; None: there is none."""


@dataclass(frozen=True, slots=True)
class LetterPage:
    """A page of dead letters."""

    letters: Sequence[DeadLetter]
    """The newest come first."""
    following: LetterPlace | None
    """Behind it the next page begins; None: there is none."""


async def job_page(connection: Connection, queues: Sequence[str], selection: JobSelection, size: int) -> JobPage:
    """Return a page of the selected jobs.

    A page may hold less than its size, even none, and have another one behind it: then no more of the rows that it
    looked at are selected. Jobs of a workflow are looked for in the whole table, because people want all of them.

    Args:
        connection: where to.
        queues: the queues.
        selection: which jobs; `after` says behind which place the page begins.
        size: largest number of jobs.
    """
    facts = await read_facts(connection, queues)
    is_whole = selection.workflow_id is not None or selection.job_ids is not None
    rows: list[JobRow] = []
    ends: list[Place] = []
    for queue in queues:
        views = JobViews(queue)
        end = None if is_whole else await views.nth(connection, MOST_LOOKED_AT, selection.after)
        if end is not None:
            ends.append(end)
        rows += await views.find(connection, dataclasses.replace(selection, up_to=end, limit=size + 1))
    rows.sort(key=_place)
    following = min(ends, default=None)
    if following is not None:
        # Beyond it not all queues were looked at.
        rows = [row for row in rows if _place(row) <= following]
    if len(rows) > size:
        rows = rows[:size]
        following = _place(rows[-1])
    return JobPage([ExplainedJob(row, explain(row, facts[row.queue])) for row in rows], following)


async def letter_page(connection: Connection, selection: Selection, size: int) -> LetterPage:
    """Return a page of the selected dead letters; the newest come first. It may hold less, as `job_page` says.

    Args:
        connection: where to.
        selection: which dead letters; `before` says behind which place the page begins.
        size: largest number of dead letters.
    """
    end = await dead_letter_places.nth(connection, MOST_LOOKED_AT, selection.before)
    wanted = dataclasses.replace(selection, down_to=end, limit=size + 1, newest_first=True)
    letters = await dead_letters.find(connection, wanted)
    if len(letters) > size:
        last = letters[size - 1]
        return LetterPage(letters[:size], LetterPlace(last.died_at, last.id))
    return LetterPage(letters, end)


def _place(row: JobRow) -> Place:
    return Place(row.published_at, row.job_id)
