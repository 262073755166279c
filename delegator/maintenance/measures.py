"""Measures the queues for the metrics: depth and dead letters."""

from __future__ import annotations

from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.queue_table import QueueTable


class QueueMeasures:
    """Reads what only the database knows. The leader calls it at each full sweep, never for a scrape."""

    def __init__(self, metrics: MaintenanceMetrics) -> None:
        """Prepare.

        Args:
            metrics: this process's series.
        """
        self._metrics = metrics

    async def depth(self, connection: Connection, table: QueueTable) -> None:
        """Count the jobs of a queue by state. The cost has an upper limit, however long the queue is."""
        depth = await table.depth(connection)
        for state, jobs in depth.by_state.items():
            self._metrics.depth.labels(table.queue, state).set(jobs)
        self._metrics.oldest.labels(table.queue).set(depth.oldest_seconds)

    async def dead_letters(self, connection: Connection, queue: str) -> None:
        """Count the dead letters of a queue."""
        self._metrics.dead_letters.labels(queue).set(await dead_letters.count(connection, queue))
