"""What logical decoding needs: the server's settings, the publication, the replication slot."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import AsyncConnection

from delegator.migrate.drift.finding import Finding
from schema.ddl import literal, quote
from schema.publications import PUBLICATION

_PUBLICATION = """
    SELECT puballtables, pubinsert, pubupdate, pubdelete, pubtruncate
    FROM pg_catalog.pg_publication WHERE pubname = %s"""
_PUBLISHED = """
    SELECT schemaname = current_schema(), schemaname, tablename, rowfilter,
        cardinality(attnames) < (SELECT count(*) FROM pg_catalog.pg_attribute
            WHERE attrelid = format('%%I.%%I', schemaname, tablename)::regclass AND attnum > 0 AND NOT attisdropped)
    FROM pg_catalog.pg_publication_tables WHERE pubname = %s ORDER BY schemaname, tablename"""
_SLOTS = """
    SELECT slot_name, active, wal_status, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
    FROM pg_catalog.pg_replication_slots
    WHERE slot_type = 'logical' AND plugin = 'pgoutput' AND database = current_database() ORDER BY slot_name"""


async def check_server(connection: AsyncConnection) -> list[Finding]:
    """Check that the server writes what logical decoding reads."""
    row = await (await connection.execute("SELECT current_setting('wal_level')")).fetchone()
    if row is not None and row[0] == "logical":
        return []
    fix = "ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL"
    return [Finding("server", f"wal_level is {row[0] if row else 'unknown'}, so nothing can be streamed", fix)]


async def check_publication(
    connection: AsyncConnection, name: str, queues: Sequence[str], declared: Collection[str]
) -> list[Finding]:
    """Compare the publication.

    Args:
        connection: where to look.
        name: of the publication.
        queues: tables of every queue in the database.
        declared: tables of the queues that this process declares; these have to be published.
    """
    found = await (await connection.execute(_PUBLICATION, [name])).fetchone()
    if found is None:
        fix = f"run `delegator migrate` with DELEGATOR_PUBLICATION={name}"
        return [Finding("publication", f"publication {name} is missing", fix)]
    findings = []
    all_tables, *flags = found
    operations = [op for op, on in zip(("insert", "update", "delete", "truncate"), flags, strict=True) if on]
    if tuple(operations) != PUBLICATION.publish:
        wanted = ", ".join(PUBLICATION.publish)
        fix = f"ALTER PUBLICATION {quote(name)} SET (publish = {literal(wanted)})"
        problem = f"publication {name} publishes {', '.join(operations) or 'nothing'} instead of {wanted}"
        findings.append(Finding("publication", problem, fix))
    if all_tables:
        fix = f"DROP PUBLICATION {quote(name)}, then run `delegator migrate`"
        findings.append(Finding("publication", f"publication {name} is FOR ALL TABLES", fix))
        return findings
    rows = await (await connection.execute(_PUBLISHED, [name])).fetchall()
    published = {table for here, _, table, _, _ in rows if here}
    for table in queues:
        if table in declared and table not in published:
            fix = f"ALTER PUBLICATION {quote(name)} ADD TABLE {quote(table)}"
            findings.append(Finding("publication", f"publication {name} lacks {table}", fix))
    for here, schema, table, row_filter, some_columns in rows:
        qualified = f"{quote(schema)}.{quote(table)}"
        if not here or table not in queues:
            fix = f"ALTER PUBLICATION {quote(name)} DROP TABLE {qualified}"
            findings.append(Finding("publication", f"publication {name} has {schema}.{table}, undeclared", fix))
        elif row_filter or some_columns:
            fix = f"ALTER PUBLICATION {quote(name)} DROP TABLE {qualified}, then run `delegator migrate`"
            problem = f"publication {name} filters {'rows' if row_filter else 'columns'} of {table}"
            findings.append(Finding("publication", problem, fix))
    return findings


async def check_slots(connection: AsyncConnection, name: str) -> list[Finding]:
    """Look at the replication slots of this database; one that does not exist yet is made by its consumer."""
    findings = []
    for slot, active, wal_status, retained in await (await connection.execute(_SLOTS)).fetchall():
        if wal_status == "lost":
            fix = (
                f"SELECT pg_drop_replication_slot({literal(slot)}) and restart its consumer;"
                " the sweeper streams again what was lost; then raise max_slot_wal_keep_size"
            )
            findings.append(Finding("slot", f"slot {slot} has lost its WAL", fix, is_error=slot == name))
        elif not active:
            fix = f"start its consumer, or SELECT pg_drop_replication_slot({literal(slot)})"
            problem = f"slot {slot} has no consumer and keeps {retained or 'no'} WAL ({wal_status})"
            findings.append(Finding("slot", problem, fix, is_error=False))
    return findings
