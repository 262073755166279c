"""Finds the workers of queues."""

from __future__ import annotations

from collections.abc import Sequence

from delegator.config import Settings
from delegator.postgres import leases
from delegator.postgres.leases import WorkerLease
from delegator.postgres.operator_connection import operator_connection


async def find_workers(settings: Settings, queues: Sequence[str], *, expired: bool = False) -> list[WorkerLease]:
    """Return the workers of some queues.

    Args:
        settings: where the database is.
        queues: the queues.
        expired: also those whose lease has expired and is not deleted yet.

    Raises:
        ConfigurationError: a table is missing, or a setting is wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    async with operator_connection(settings, "workers") as connection:
        return await leases.workers(connection, queues, expired=expired)
