"""Compares what the database has with what is declared, where Atlas does not look."""

from __future__ import annotations

from psycopg import AsyncConnection

from delegator.config import Settings
from delegator.migrate.drift.finding import Finding
from delegator.migrate.drift.roles import check_roles
from delegator.migrate.drift.shape import check_shape
from delegator.migrate.drift.storage import check_storage
from delegator.migrate.drift.stream import check_publication, check_server, check_slots
from delegator.migrate.queues import existing_queue_tables
from schema.ddl import STATE_TABLES
from schema.queues import BASE_TABLE, queue_table

__all__ = ["Finding", "find_drift"]


async def find_drift(connection: AsyncConnection, settings: Settings) -> tuple[Finding, ...]:
    """Compare the database with the declarations; changes nothing.

    Args:
        connection: any role that may read the system catalogs.
        settings: which queues, publication and slot there should be.
    """
    declared = {BASE_TABLE, *map(queue_table, settings.queues)}
    present = await existing_queue_tables(connection)
    # Another deployment's queues count: they share the publication, the roles and the migrations.
    queues = tuple(sorted(declared.union(present)))
    findings = await check_server(connection)
    shape, tables = await check_shape(connection, (*queues, *STATE_TABLES), settings.queues)
    findings += shape
    queues = tuple(table for table in queues if table in tables)
    findings += await check_storage(connection, tables)
    findings += await check_roles(connection, tables)
    findings += await check_publication(connection, settings.publication, queues, declared)
    findings += await check_slots(connection, settings.slot)
    return tuple(findings)
