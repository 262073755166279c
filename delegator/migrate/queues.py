"""Creates the queues. Each has a table and a publication. All tables have the shape of the default queue's."""

from __future__ import annotations

from collections.abc import Sequence

from delegator_schema.ddl import publication_sql, queue_sql, quote
from delegator_schema.publications import PUBLICATION
from delegator_schema.queues import BASE_TABLE, DEFAULT_QUEUE, is_queue_name, queue_publication, queue_table
from psycopg import AsyncConnection

from delegator.errors import SchemaError
from delegator.migrate.locks import Execute, in_short_transaction

_QUEUE_TABLES = """
    SELECT relname FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = quote_ident(current_schema())::regnamespace
      AND (relname = %(base)s OR starts_with(relname, %(base)s || '_'))
    ORDER BY relname"""

_MISSING_COLUMNS = """
    SELECT format('ALTER TABLE %%I ADD COLUMN %%I %%s%%s%%s', %(name)s::text, wanted.attname,
        format_type(wanted.atttypid, wanted.atttypmod),
        ' DEFAULT ' || pg_get_expr(preset.adbin, preset.adrelid),
        CASE WHEN wanted.attnotnull THEN ' NOT NULL' ELSE '' END)
    FROM pg_catalog.pg_attribute AS wanted
    LEFT JOIN pg_catalog.pg_attrdef AS preset ON preset.adrelid = wanted.attrelid AND preset.adnum = wanted.attnum
    WHERE wanted.attrelid = %(base)s::regclass AND wanted.attnum > 0 AND NOT wanted.attisdropped
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS present WHERE present.attrelid = %(table)s::regclass
        AND present.attname = wanted.attname AND NOT present.attisdropped)
    ORDER BY wanted.attnum"""

_OTHER_DEFAULTS = """
    SELECT format('ALTER TABLE %%I ALTER COLUMN %%I SET DEFAULT %%s', %(name)s::text, attname,
        pg_get_expr(preset.adbin, preset.adrelid))
    FROM pg_catalog.pg_attribute AS wanted
    JOIN pg_catalog.pg_attrdef AS preset ON preset.adrelid = wanted.attrelid AND preset.adnum = wanted.attnum
    JOIN pg_catalog.pg_attribute AS present USING (attname)
    LEFT JOIN pg_catalog.pg_attrdef AS known ON known.adrelid = present.attrelid AND known.adnum = present.attnum
    WHERE wanted.attrelid = %(base)s::regclass AND present.attrelid = %(table)s::regclass
      AND NOT wanted.attisdropped AND NOT present.attisdropped
      AND pg_get_expr(known.adbin, known.adrelid) IS DISTINCT FROM pg_get_expr(preset.adbin, preset.adrelid)
    ORDER BY wanted.attnum"""

_INDEXES = """
    SELECT indisunique, substring(pg_get_indexdef(indexrelid) FROM ' USING .*')
    FROM pg_catalog.pg_index WHERE indrelid = %s::regclass AND indisvalid ORDER BY 2"""

_BROKEN_INDEXES = """
    SELECT indexrelid::regclass::text FROM pg_catalog.pg_index
    WHERE indrelid = %s::regclass AND NOT indisvalid AND substring(pg_get_indexdef(indexrelid) FROM ' USING .*') = %s"""

# A publication of whole schemas or of all tables can't have column lists. The comparison reports it.
_PUBLISHED = """
    SELECT FROM pg_catalog.pg_publication AS publication
    JOIN pg_catalog.pg_publication_tables AS published USING (pubname),
        (SELECT %s::text[] AS columns) AS declared
    WHERE pubname = %s AND tablename = %s AND schemaname = current_schema() AND (puballtables
        OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace WHERE pnpubid = publication.oid)
        OR attnames::text[] @> columns AND attnames::text[] <@ columns)"""

_SHARED = """
    SELECT current_schema()::text, EXISTS (SELECT FROM pg_catalog.pg_publication_tables AS other
        WHERE other.pubname = published.pubname
        AND NOT (other.schemaname = published.schemaname AND other.tablename = published.tablename))
    FROM pg_catalog.pg_publication_tables AS published
    WHERE schemaname = current_schema() AND tablename = %s AND pubname = %s"""


async def existing_queues(connection: AsyncConnection) -> tuple[str, ...]:
    """Return the queues whose tables the database has. This process need not declare them."""
    found = await (await connection.execute(_QUEUE_TABLES, {"base": BASE_TABLE})).fetchall()
    names = (DEFAULT_QUEUE if table == BASE_TABLE else table.removeprefix(f"{BASE_TABLE}_") for (table,) in found)
    return tuple(name for name in names if is_queue_name(name))


async def ensure_queues(connection: AsyncConnection, queues: Sequence[str], publication: str) -> tuple[str, ...]:
    """Create what is missing: tables of new queues, columns and indexes of older ones, publications.

    Args:
        connection: in autocommit mode. One process at a time may run this.
        queues: the declared queues.
        publication: name of the default queue's publication. The other names are derived from it.

    Returns:
        The queues whose tables were created.

    Raises:
        SchemaError: the default queue's table is missing.
    """
    present = await existing_queues(connection)
    if DEFAULT_QUEUE not in present:
        raise SchemaError(
            f"table {BASE_TABLE} is missing although its migration counts as applied: restore it from a backup"
        )
    created = tuple(queue for queue in queues if queue not in present)
    for queue in created:
        table, name = queue_table(queue), queue_publication(queue, publication)
        await _run(connection, queue_sql(queue) + publication_sql(table, name), what=f"queue {queue}")
    for queue in await existing_queues(connection):
        if queue != DEFAULT_QUEUE:
            await _follow(connection, queue_table(queue))
    for queue in dict.fromkeys((DEFAULT_QUEUE, *queues)):
        table, name = queue_table(queue), queue_publication(queue, publication)
        if not await _is_published(connection, table, name):
            await _run(connection, publication_sql(table, name), what=f"publication {name}")
    return created


async def _run(connection: AsyncConnection, statements: str, *, what: str) -> None:
    async def work(execute: Execute) -> None:
        await execute(statements)

    await in_short_transaction(connection, work, what=what)


async def _follow(connection: AsyncConnection, table: str) -> None:
    """Add the columns, defaults and indexes that migrations have given to the default queue's table."""
    names = {"base": quote(BASE_TABLE), "table": quote(table)}

    async def columns(execute: Execute) -> None:
        for asked in (_MISSING_COLUMNS, _OTHER_DEFAULTS):
            for (statement,) in await (await connection.execute(asked, {**names, "name": table})).fetchall():
                await execute(statement)

    await in_short_transaction(connection, columns, what=f"columns of {table}")
    present = {row[1] for row in await (await connection.execute(_INDEXES, [names["table"]])).fetchall()}
    for unique, definition in await (await connection.execute(_INDEXES, [names["base"]])).fetchall():
        if definition in present:
            continue
        # What an index that was interrupted has left.
        for (broken,) in await (await connection.execute(_BROKEN_INDEXES, [names["table"], definition])).fetchall():
            await connection.execute(f"DROP INDEX CONCURRENTLY {broken}".encode())
        index = "UNIQUE INDEX" if unique else "INDEX"
        # Jobs are enqueued and claimed while it is built.
        await connection.execute(f"CREATE {index} CONCURRENTLY ON {quote(table)}{definition}".encode())


async def _is_published(connection: AsyncConnection, table: str, publication: str) -> bool:
    found = await connection.execute(_PUBLISHED, [list(PUBLICATION.columns), publication, table])
    return await found.fetchone() is not None


async def leave_shared_publication(connection: AsyncConnection, publication: str) -> None:
    """Take this schema's table out of the publication that the migrations make, if another one is configured.

    That publication may be another deployment's, in another schema of the database. If nothing is left in it, it goes.

    Args:
        connection: in autocommit mode.
        publication: name of the configured publication.
    """
    if publication == PUBLICATION.name:
        return
    shared = quote(PUBLICATION.name)
    found = await (await connection.execute(_SHARED, [BASE_TABLE, PUBLICATION.name])).fetchone()
    if found is None:
        return
    schema, others = found
    async with connection.transaction():
        await connection.execute(f"ALTER PUBLICATION {shared} DROP TABLE {quote(schema)}.{quote(BASE_TABLE)}".encode())
        if not others:
            await connection.execute(f"DROP PUBLICATION {shared}".encode())
