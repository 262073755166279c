"""Finds places in the order of dead letters, so that a page of them has a bound."""

from __future__ import annotations

from typing import Final

from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import CONDITIONS, LetterPlace, Selection
from delegator.postgres.selections import where

_NTH: Final = """
SELECT died_at, dead_letter_id FROM custom_task_dead_letter {where}
ORDER BY died_at DESC, dead_letter_id DESC OFFSET %(most)s - 1 LIMIT 1
"""


async def nth(connection: Connection, most: int, before: LetterPlace | None) -> LetterPlace | None:
    """Return the place of the dead letter that comes so many behind a place, the newest first; None: there are less.

    Args:
        connection: where to.
        most: how many.
        before: the place; None: the beginning.
    """
    condition, parameters = where(Selection(before=before), CONDITIONS)
    cursor = await connection.execute(_NTH.format(where=condition).encode(), {**parameters, "most": most})
    row = await cursor.fetchone()
    return None if row is None else LetterPlace(*row)
