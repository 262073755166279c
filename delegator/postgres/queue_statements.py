"""What the statements of a queue's table have in common."""

from __future__ import annotations

from typing import Final

from delegator_schema.queues import queue_table

OUTCOME_CHANNEL: Final = "delegator_outcomes_"
"""Prefix of the channel on which a delegator hears that outcomes wait for it; its lease id follows."""
MAINTENANCE_CHANNEL: Final = "delegator_maintenance"
"""The channel on which the sweeper hears that something is due sooner than it knew."""


class QueueStatements:
    """Statements of one queue's table."""

    def __init__(self, queue: str) -> None:
        """Name the table.

        Raises:
            ValueError: it is not a queue name.
        """
        self.queue = queue
        self.name = queue_table(queue)

    def statement(self, template: str) -> bytes:
        """Return a statement of this queue's table."""
        return template.format(table=self.name, channel=OUTCOME_CHANNEL, rescue=MAINTENANCE_CHANNEL).encode()
