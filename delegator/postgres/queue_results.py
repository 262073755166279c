"""Reads the outcomes of plain jobs that are kept for clients."""

from __future__ import annotations

from typing import Final, NamedTuple

from delegator_schema.outbox import NO_WAITER

from delegator.postgres.connections import Connection
from delegator.postgres.notifications import listen_for_outcomes
from delegator.postgres.queue_statements import QueueStatements

_READ: Final = """
SELECT waiter_id IS NOT NULL, outcome, result, format_version, options::text FROM {table} WHERE job_id = %s
"""


class KeptOutcome(NamedTuple):
    """A job's row."""

    is_kept: bool
    """Whether the outcome is kept."""
    outcome: str | None
    """None: the job has not ended."""
    result: bytes | None
    format_version: int
    options: str | None


class ResultStatements(QueueStatements):
    """The statements of those who wait for plain jobs of one queue."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self._read = self.statement(_READ)

    async def read(self, connection: Connection, job_id: str) -> KeptOutcome | None:
        """Return a job's row; None: there is none."""
        row = await (await connection.execute(self._read, (job_id,), binary=True)).fetchone()
        return None if row is None else KeptOutcome._make(row)


async def listen_for_results(connection: Connection) -> None:
    """Listen on this connection for outcomes of plain jobs. Each notification holds job ids, one a line."""
    await listen_for_outcomes(connection, NO_WAITER)
