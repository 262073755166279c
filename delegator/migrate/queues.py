"""Additional queues: a table each, in the shape of the default queue's, and published with it."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from delegator.errors import SchemaError
from delegator.migrate.revisions import REVISIONS_SCHEMA
from schema.ddl import publication_sql, queue_sql, quote
from schema.queues import BASE_TABLE, is_queue_name, queue_table

_QUEUE_TABLES = """
    SELECT relname FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = quote_ident(current_schema())::regnamespace
      AND (relname = %(base)s OR starts_with(relname, %(base)s || '_'))
    ORDER BY relname"""

_MISSING_COLUMNS = """
    SELECT format('ALTER TABLE %%I ADD COLUMN %%I %%s%%s%%s', %(table)s::text, wanted.attname,
        format_type(wanted.atttypid, wanted.atttypmod),
        ' DEFAULT ' || pg_get_expr(preset.adbin, preset.adrelid),
        CASE WHEN wanted.attnotnull THEN ' NOT NULL' ELSE '' END)
    FROM pg_catalog.pg_attribute AS wanted
    LEFT JOIN pg_catalog.pg_attrdef AS preset ON preset.adrelid = wanted.attrelid AND preset.adnum = wanted.attnum
    WHERE wanted.attrelid = %(base)s::regclass AND wanted.attnum > 0 AND NOT wanted.attisdropped
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS present WHERE present.attrelid = %(table)s::regclass
        AND present.attname = wanted.attname AND NOT present.attisdropped)
    ORDER BY wanted.attnum"""

_INDEXES = """
    SELECT indisunique, substring(pg_get_indexdef(indexrelid) FROM ' USING .*')
    FROM pg_catalog.pg_index WHERE indrelid = %s::regclass AND indisvalid ORDER BY 2"""


async def existing_queue_tables(connection: AsyncConnection) -> tuple[str, ...]:
    """Return the tables of all queues that the database has, declared by this process or not."""
    found = await (await connection.execute(_QUEUE_TABLES, {"base": BASE_TABLE})).fetchall()
    return tuple(name for (name,) in found if name == BASE_TABLE or is_queue_name(name.removeprefix(f"{BASE_TABLE}_")))


async def ensure_queues(connection: AsyncConnection, queues: Sequence[str], publication: str) -> tuple[str, ...]:
    """Create the tables of the additional queues, bring old ones up to the default queue's shape, publish them all.

    Args:
        connection: in autocommit mode.
        queues: the declared queues.
        publication: name of the publication.

    Returns:
        The queues whose tables were created.

    Raises:
        SchemaError: the default queue's table, whose shape the others take, is missing.
    """
    present = await existing_queue_tables(connection)
    if BASE_TABLE not in present:
        raise SchemaError(
            f"table {BASE_TABLE} is missing although its migration counts as applied: restore it from a backup,"
            f" or drop the schema {REVISIONS_SCHEMA} to apply everything again"
        )
    created = tuple(queue for queue in queues if queue_table(queue) not in present)
    async with connection.transaction():
        for queue in created:
            await connection.execute(queue_sql(queue).encode())
        for table in await existing_queue_tables(connection):
            if table != BASE_TABLE:
                await _follow(connection, table)
        wanted = (BASE_TABLE, *(queue_table(queue) for queue in queues if queue_table(queue) != BASE_TABLE))
        if unpublished := await _unpublished(connection, wanted, publication):
            await connection.execute(publication_sql(unpublished, publication).encode())
    return created


async def _follow(connection: AsyncConnection, table: str) -> None:
    """Give a queue's table what a migration has added to the default queue's since it was created."""
    names = {"base": quote(BASE_TABLE), "table": quote(table)}
    names_of_columns = await connection.execute(
        _MISSING_COLUMNS.replace("%(table)s::text", "%(name)s::text"), {**names, "name": table}
    )
    for (statement,) in await names_of_columns.fetchall():
        await connection.execute(statement.encode())
    present = {row[1] for row in await (await connection.execute(_INDEXES, [names["table"]])).fetchall()}
    for unique, definition in await (await connection.execute(_INDEXES, [names["base"]])).fetchall():
        if definition not in present:
            kind = "UNIQUE INDEX" if unique else "INDEX"
            await connection.execute(f"CREATE {kind} ON {quote(table)}{definition}".encode())


async def _unpublished(connection: AsyncConnection, tables: Sequence[str], publication: str) -> tuple[str, ...]:
    published = await connection.execute(
        "SELECT tablename FROM pg_catalog.pg_publication_tables WHERE pubname = %s AND schemaname = current_schema()",
        [publication],
    )
    present = {name for (name,) in await published.fetchall()}
    return tuple(table for table in tables if table not in present)
