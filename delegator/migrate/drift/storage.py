"""Compares storage parameters and replica identity."""

from __future__ import annotations

from collections.abc import Sequence

from delegator_schema.ddl import STATE_TABLES, quote
from delegator_schema.publications import REPLICA_IDENTITY, REPLICA_IDENTITY_CODE
from delegator_schema.storage import storage_of
from psycopg import AsyncConnection

from delegator.migrate.drift.finding import Finding

_SETTINGS = """
    SELECT relname, relreplident::text, coalesce(reloptions, '{}') FROM pg_catalog.pg_class
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY(%s) ORDER BY relname"""


async def check_storage(connection: AsyncConnection, tables: Sequence[str]) -> list[Finding]:
    """Compare the storage settings of `tables`, and the replica identity of queue tables."""
    findings = []
    for table, identity, options in await (await connection.execute(_SETTINGS, [list(tables)])).fetchall():
        present = dict(option.split("=", 1) for option in options)
        wrong = [(name, value) for name, value in storage_of(table).parameters if present.get(name) != value]
        if wrong:
            wanted = ", ".join(f"{name} = {value}" for name, value in wrong)
            fix = f"ALTER TABLE {quote(table)} SET ({wanted})"
            names = ", ".join(f"{name} ({present.get(name, 'default')})" for name, _ in wrong)
            findings.append(Finding("storage", f"table {table} has other storage settings: {names}", fix))
        if table not in STATE_TABLES and identity != REPLICA_IDENTITY_CODE:
            fix = f"ALTER TABLE {quote(table)} REPLICA IDENTITY {REPLICA_IDENTITY}"
            problem = f"table {table} has another replica identity (relreplident {identity})"
            findings.append(Finding("replica identity", problem, fix))
    return findings
