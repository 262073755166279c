"""Pauses jobs that come to wait while their queue or type is paused, and frees those that no pause holds any more.

The command that begins or ends a pause does the same for the jobs of that moment. Workers pause what the stream brings.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from delegator.postgres import pauses
from delegator.postgres.connections import Connection
from delegator.postgres.queue_pause import PauseStatements

_log = logging.getLogger(__name__)
_NONE: Final = frozenset[str]()


class PausedJobs:
    """Keeps the jobs of paused queues and types paused. Without a pause it costs one short query in a full sweep."""

    def __init__(self, queues: Sequence[str]) -> None:
        """Prepare.

        Args:
            queues: the declared queues.
        """
        self._statements = {queue: PauseStatements(queue) for queue in queues}
        self._paused: frozenset[str] = _NONE

    async def pause_due(self, connection: Connection, queue: str) -> None:
        """Pause the jobs of a queue that would be tried or time out soon."""
        if queue in self._paused:
            _note_paused(queue, await self._statements[queue].pause_due(connection))

    async def look(self, connection: Connection) -> None:
        """Read which queues and types are paused."""
        found = await pauses.pauses(connection, list(self._statements))
        self._paused = frozenset(pause.queue for pause in found)

    async def sweep(self, connection: Connection, queue: str) -> None:
        """Pause and free the jobs of a queue."""
        statements = self._statements[queue]
        if queue in self._paused:
            _note_paused(queue, await statements.pause_all(connection))
        if freed := await statements.free(connection):
            _log.info("jobs_freed", extra={"queue": queue, "jobs": freed})


def _note_paused(queue: str, jobs: int) -> None:
    if jobs:
        _log.info("jobs_paused", extra={"queue": queue, "jobs": jobs})
