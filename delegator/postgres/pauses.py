"""The statements of `custom_task_pause`: which queues and types are paused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from delegator_schema.columns import PAUSE_TABLE

from delegator.postgres.connections import Connection
from delegator.postgres.fragments import MAINTENANCE_CHANNEL, PAUSES_CHANGED
from delegator.postgres.notifying import Notifying

_COLUMNS: Final = "queue, job_type, paused_at, paused_by, note"
_BEGIN: Final = f"""
INSERT INTO {PAUSE_TABLE} (pause_id, {_COLUMNS})
VALUES (%(pause_id)s, %(queue)s, %(job_type)s, now(), %(paused_by)s, %(note)s)
ON CONFLICT (pause_id) DO NOTHING
""".encode()
_END: Final = f"DELETE FROM {PAUSE_TABLE} WHERE pause_id = %s".encode()
_LIST: Final = (
    f"SELECT {_COLUMNS} FROM {PAUSE_TABLE} WHERE queue = ANY(%s) ORDER BY queue, job_type NULLS FIRST".encode()
)

_ANNOUNCE: Final = f"SELECT pg_notify('{MAINTENANCE_CHANNEL}', '{PAUSES_CHANGED}')".encode()


class Pause(NamedTuple):
    """A queue, or a type of a queue, that is paused."""

    queue: str
    job_type: str | None
    """The type; None: all types of the queue."""
    paused_at: datetime
    paused_by: str
    """Who paused it: `<user>@<host>`."""
    note: str | None
    """Why, in the words of who paused it."""

    def covers(self, queue: str, job_type: str) -> bool:
        """Return whether jobs of a type of a queue are paused by it."""
        return self.queue == queue and self.job_type in (None, job_type)


def pause_id(queue: str, job_type: str | None) -> str:
    """Return the key of a pause. A queue's name has no slash."""
    return queue if job_type is None else f"{queue}/{job_type}"


async def begin(connection: Connection, queue: str, job_type: str | None, paused_by: str, note: str | None) -> bool:
    """Note a pause. Return False if there was one already.

    Args:
        connection: where to.
        queue: the queue.
        job_type: the type; None: all types of the queue.
        paused_by: who pauses it, for people.
        note: why; None: not said.
    """
    parameters = {
        "pause_id": pause_id(queue, job_type),
        "queue": queue,
        "job_type": job_type,
        "paused_by": paused_by,
        "note": note,
    }
    return bool((await connection.execute(_BEGIN, parameters)).rowcount)


async def end(connection: Connection, queue: str, job_type: str | None) -> bool:
    """End a pause. Return False if there was none."""
    return bool((await connection.execute(_END, (pause_id(queue, job_type),))).rowcount)


async def pauses(connection: Connection, queues: Sequence[str]) -> list[Pause]:
    """Return the pauses of some queues."""
    cursor = await connection.execute(_LIST, (list(queues),))
    return [Pause(*row) for row in await cursor.fetchall()]


async def announce(connection: Connection) -> None:
    """Tell the maintenance process that a pause has begun or ended."""
    await Notifying().execute(connection, _ANNOUNCE)
