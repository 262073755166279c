"""Compares the database with the declarations. Atlas does not compare these parts."""

from __future__ import annotations

from delegator_schema.ddl import STATE_TABLES
from delegator_schema.queues import DEFAULT_QUEUE, queue_slot, queue_table
from psycopg import AsyncConnection

from delegator.config import Settings
from delegator.migrate.drift.finding import Finding
from delegator.migrate.drift.functions import check_functions
from delegator.migrate.drift.roles import check_roles
from delegator.migrate.drift.shape import check_shape
from delegator.migrate.drift.storage import check_storage
from delegator.migrate.drift.stream import check_publications, check_server, check_slots
from delegator.migrate.queues import existing_queues

__all__ = ["Finding", "find_drift"]


async def find_drift(connection: AsyncConnection, settings: Settings) -> tuple[Finding, ...]:
    """Compare the database with the declarations. Nothing is changed.

    Args:
        connection: with any role that may read the system catalogs.
        settings: the declared queues, publications and slots.
    """
    declared = tuple(dict.fromkeys((DEFAULT_QUEUE, *settings.queues)))
    # Queues of other deployments count too: they share the server, the roles and the migrations.
    queues = tuple(sorted({*declared, *await existing_queues(connection)}, key=queue_table))
    findings = await check_server(connection, len(queues))
    shape, tables = await check_shape(connection, (*map(queue_table, queues), *STATE_TABLES), settings.queues)
    findings += shape
    queues = tuple(queue for queue in queues if queue_table(queue) in tables)
    findings += await check_storage(connection, tables)
    findings += await check_roles(connection, tables)
    findings += await check_functions(connection, settings)
    findings += await check_publications(connection, settings.publication, queues, declared)
    slots = {queue_slot(queue, settings.slot): queue_table(queue) for queue in declared if queue_table(queue) in tables}
    findings += await check_slots(connection, slots)
    return tuple(findings)
