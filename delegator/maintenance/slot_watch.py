"""Watches the replication slots: their metrics, and a line when jobs wait for a slot that does not exist."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.postgres.connections import Connection
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.postgres.server_views import Slot, slots

_log = logging.getLogger(__name__)


class SlotWatch:
    """Looks for the slots of the queues, also for those that Sequin reads."""

    def __init__(self, names: Mapping[str, str], metrics: MaintenanceMetrics) -> None:
        """Begin with nothing said.

        Args:
            names: the slots, by queue.
            metrics: this process's series.
        """
        self._names = dict(names)
        self._metrics = metrics
        self._said: set[str] = set()

    async def look(self, connection: Connection) -> None:
        """Measure the slots, and whether they exist.

        Writes a line when jobs begin to wait without a slot, and one when there is a slot again. The relay makes a
        lost slot again; Sequin does not.
        """
        found = {slot.name: slot for slot in await slots(connection, list(self._names.values()))}
        for queue, name in self._names.items():
            self._measure(queue, found.get(name))
            if name in found:
                if queue in self._said:
                    self._said.discard(queue)
                    _log.info("slot_back", extra={"queue": queue, "slot": name})
            elif queue not in self._said and await MaintenanceStatements(queue).waits_undelivered(connection):
                self._said.add(queue)
                fix = (
                    f"start the relay, or with Sequin: SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
                )
                _log.error("slot_missing", extra={"queue": queue, "slot": name, "fix": fix})

    def _measure(self, queue: str, slot: Slot | None) -> None:
        self._metrics.slot_missing.labels(queue).set(slot is None)
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
