"""The base class of the statements of a queue's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from delegator_schema.queues import queue_table

from delegator.postgres.arrays import int8_array, text_array
from delegator.postgres.fragments import BY_NAME
from delegator.postgres.notifying import Notifying


class QueueStatements:
    """Statements of one queue's table."""

    def __init__(self, queue: str) -> None:
        """Name the table.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        self.queue = queue
        self.name = queue_table(queue)
        self.notifying = Notifying()

    def statement(self, template: str, **more: str) -> bytes:
        """Return a statement of this queue's table.

        Args:
            template: SQL with `{table}` and the names of fragments.
            more: more texts that the template names.
        """
        return template.format(table=self.name, **BY_NAME, **more).encode()


def held_rows(held: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return the parameters of the fragment `HELD` for rows given as (job id, fencing token)."""
    return {
        "job_id": text_array([job_id for job_id, _ in held]),
        "fencing_token": int8_array([token for _, token in held]),
    }
