"""Compares what logical decoding needs: server settings, and a publication and a slot for each queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from delegator_schema.ddl import literal, quote
from delegator_schema.publications import PUBLICATION
from delegator_schema.queues import queue_publication, queue_table
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from delegator.migrate.drift.finding import Finding

_SERVER = """
    SELECT name, setting FROM pg_catalog.pg_settings
    WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders', 'server_encoding') ORDER BY name"""
_PUBLICATION = """
    SELECT CASE WHEN puballtables THEN 'ALL TABLES'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_publication_namespace WHERE pnpubid = publication.oid)
            THEN 'TABLES IN SCHEMA' END,
        pubinsert, pubupdate, pubdelete, pubtruncate
    FROM pg_catalog.pg_publication AS publication WHERE pubname = %s"""
_PUBLISHED = """
    SELECT schemaname = current_schema(), schemaname, tablename, rowfilter,
        cardinality(attnames) = (SELECT count(*) FROM pg_catalog.pg_attribute AS attribute
            JOIN pg_catalog.pg_class AS class ON class.oid = attribute.attrelid
            JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
            WHERE namespace.nspname = schemaname AND class.relname = tablename AND attnum > 0 AND NOT attisdropped),
        attnames::text[]
    FROM pg_catalog.pg_publication_tables WHERE pubname = %s ORDER BY schemaname, tablename"""
_SLOTS = """
    SELECT slot_name, active, wal_status, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
    FROM pg_catalog.pg_replication_slots
    WHERE slot_type = 'logical' AND plugin = 'pgoutput' AND database = current_database() ORDER BY slot_name"""
_MAY_READ = "SELECT has_table_privilege(%s::regclass, 'SELECT')"


async def check_server(connection: AsyncConnection, queues: int) -> list[Finding]:
    """Check `wal_level`, the encoding, and that there is a slot and a WAL sender for each queue."""
    settings: dict[str, str] = dict(await (await connection.execute(_SERVER)).fetchall())
    findings = []
    if (level := settings["wal_level"]) != "logical":
        fix = "ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL"
        findings.append(Finding("server", f"wal_level is {level}, so nothing can be streamed", fix))
    for name in ("max_replication_slots", "max_wal_senders"):
        if int(settings[name]) < queues:
            fix = f"ALTER SYSTEM SET {name} = {queues + 10}, then restart PostgreSQL"
            problem = f"{name} is {settings[name]}, too few for {queues} queues that need one each"
            findings.append(Finding("server", problem, fix))
    if (encoding := settings["server_encoding"]) != "UTF8":
        problem = f"the database's encoding is {encoding}: names and ids with other characters can't be enqueued"
        fix = "move to a database with the encoding UTF8"
        findings.append(Finding("server", problem, fix, is_error=False))
    return findings


async def check_publications(
    connection: AsyncConnection, base: str, queues: Collection[str], declared: Collection[str]
) -> list[Finding]:
    """Compare the publications.

    Args:
        connection: where to look.
        base: name of the default queue's publication. The other names are derived from it.
        queues: every queue whose table exists in the database.
        declared: the queues that this process declares. Publications of other queues are compared if they exist.
    """
    findings = []
    for queue in queues:
        found = await (await connection.execute(_PUBLICATION, [queue_publication(queue, base)])).fetchone()
        if found is not None:
            findings += await _check_publication(connection, queue_publication(queue, base), queue_table(queue), found)
        elif queue in declared:
            fix = f"run `delegator migrate` with DELEGATOR_PUBLICATION={base} DELEGATOR_QUEUES={','.join(declared)}"
            problem = f"publication {queue_publication(queue, base)} is missing"
            findings.append(Finding("publication", problem, fix))
    return findings


async def _check_publication(
    connection: AsyncConnection, name: str, table: str, found: tuple[Any, ...]
) -> list[Finding]:
    findings = []
    whole, *flags = found
    operations = [op for op, on in zip(("insert", "update", "delete", "truncate"), flags, strict=True) if on]
    if tuple(operations) != PUBLICATION.publish:
        wanted = ", ".join(PUBLICATION.publish)
        fix = f"ALTER PUBLICATION {quote(name)} SET (publish = {literal(wanted)})"
        problem = f"publication {name} publishes {', '.join(operations) or 'nothing'} instead of {wanted}"
        findings.append(Finding("publication", problem, fix))
    if whole:
        fix = f"DROP PUBLICATION {quote(name)}, then run `delegator migrate`"
        findings.append(Finding("publication", f"publication {name} is FOR {whole}", fix))
        return findings
    rows = await (await connection.execute(_PUBLISHED, [name])).fetchall()
    add = f"ALTER PUBLICATION {quote(name)} ADD TABLE {quote(table)} ({', '.join(map(quote, PUBLICATION.columns))})"
    if not any(here and other == table for here, _, other, *_ in rows):
        findings.append(Finding("publication", f"publication {name} lacks {table}", add))
    for here, schema, other, row_filter, every, columns in rows:
        drop = f"ALTER PUBLICATION {quote(name)} DROP TABLE {quote(schema)}.{quote(other)}"
        if not here or other != table:
            findings.append(Finding("publication", f"publication {name} has {schema}.{other}, undeclared", drop))
        elif row_filter:
            findings.append(Finding("publication", f"publication {name} filters rows of {table}", f"{drop}; {add}"))
        elif set(columns) != set(PUBLICATION.columns):
            problem = f"publication {name} publishes {'every column' if every else ', '.join(columns)} of {table}"
            problem += f" instead of {', '.join(PUBLICATION.columns)}"
            findings.append(Finding("publication", problem, f"{drop}; {add}"))
    return findings


async def check_slots(connection: AsyncConnection, tables: Mapping[str, str]) -> list[Finding]:
    """Check the replication slots of this database. A slot that is missing counts only while jobs wait.

    The relay makes a missing slot. Sequin makes it only when it first hears of the database.

    Args:
        connection: where to look.
        tables: the declared queues' tables by slot.
    """
    findings = []
    found = await (await connection.execute(_SLOTS)).fetchall()
    for slot in sorted(tables.keys() - {row[0] for row in found}):
        if await _has_rows(connection, tables[slot]):
            create = f"SELECT pg_create_logical_replication_slot({literal(slot)}, 'pgoutput')"
            problem = f"slot {slot} is missing while jobs wait in {tables[slot]}, so nothing is streamed"
            findings.append(Finding("slot", problem, f"start the relay, or with Sequin: {create}", is_error=False))
    for slot, active, wal_status, retained in found:
        if wal_status == "lost":
            fix = (
                f"SELECT pg_drop_replication_slot({literal(slot)}) and restart its consumer;"
                " the sweeper republishes what was lost; then raise max_slot_wal_keep_size"
            )
            findings.append(Finding("slot", f"slot {slot} has lost its WAL", fix, is_error=slot in tables))
        elif not active:
            fix = f"start its consumer, or SELECT pg_drop_replication_slot({literal(slot)})"
            problem = f"slot {slot} has no consumer and keeps {retained or 'no'} WAL ({wal_status})"
            findings.append(Finding("slot", problem, fix, is_error=False))
    return findings


async def _has_rows(connection: AsyncConnection, table: str) -> bool:
    """Return whether a table has rows, as far as this role may read it."""
    row = await (await connection.execute(_MAY_READ, [quote(table)])).fetchone()
    if row is None or not row[0]:
        return False
    return (await connection.execute(SQL("SELECT FROM {} LIMIT 1").format(Identifier(table)))).rowcount > 0
