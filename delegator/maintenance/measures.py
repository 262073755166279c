"""Measures the queues for the metrics: depth, dead letters, replication slots."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.queue_table import QueueTable
from delegator.postgres.server_views import slots


class QueueMeasures:
    """Reads what only the database knows. The leader calls it at each full sweep, never for a scrape."""

    def __init__(self, metrics: MaintenanceMetrics, slot_names: Mapping[str, str]) -> None:
        """Prepare.

        Args:
            metrics: this process's series.
            slot_names: the replication slots, by queue.
        """
        self._metrics = metrics
        self._slot_names = dict(slot_names)

    async def depth(self, connection: Connection, table: QueueTable) -> None:
        """Count the jobs of a queue by state. The cost has an upper limit, however long the queue is."""
        depth = await table.depth(connection)
        for state, jobs in depth.by_state.items():
            self._metrics.depth.labels(table.queue, state).set(jobs)
        self._metrics.oldest.labels(table.queue).set(depth.oldest_seconds)

    async def dead_letters(self, connection: Connection, queue: str) -> None:
        """Count the dead letters of a queue."""
        self._metrics.dead_letters.labels(queue).set(await dead_letters.count(connection, queue))

    async def slots(self, connection: Connection) -> None:
        """Read the replication slots. It also works for a slot that Sequin reads."""
        found = {slot.name: slot for slot in await slots(connection, list(self._slot_names.values()))}
        for queue, name in self._slot_names.items():
            slot = found.get(name)
            self._metrics.slot_active.labels(queue).set(slot is not None and slot.active)
            for series, value in (
                (self._metrics.slot_lag, None if slot is None else slot.lag_bytes),
                (self._metrics.slot_retained, None if slot is None else slot.retained_bytes),
            ):
                if value is not None:
                    series.labels(queue).set(value)
                elif slot is None:
                    with suppress(KeyError):  # it had no value
                        series.remove(queue)
