"""Says when jobs wait for a replication slot that does not exist. The relay makes a lost one again; Sequin does not."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from delegator.postgres.connections import Connection
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.postgres.server_views import slots

_log = logging.getLogger(__name__)


class SlotWatch:
    """Looks for the slots of the queues."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Begin with nothing said.

        Args:
            names: the slots, by queue.
        """
        self._names = dict(names)
        self._said: set[str] = set()

    async def look(self, connection: Connection) -> None:
        """Write a line when jobs begin to wait without a slot, and one when there is a slot again."""
        present = {slot.name for slot in await slots(connection, list(self._names.values()))}
        for queue, name in self._names.items():
            if name in present:
                if queue in self._said:
                    self._said.discard(queue)
                    _log.info("slot_back", extra={"queue": queue, "slot": name})
            elif queue not in self._said and await MaintenanceStatements(queue).waits_undelivered(connection):
                self._said.add(queue)
                fix = (
                    f"start the relay, or with Sequin: SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
                )
                _log.error("slot_missing", extra={"queue": queue, "slot": name, "fix": fix})
