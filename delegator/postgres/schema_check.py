"""The cheap schema check that every process runs when it starts."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from delegator_schema.columns import column_names
from delegator_schema.ddl import STATE_TABLES, quote
from delegator_schema.queues import queue_publication, queue_table
from delegator_schema.roles import APP
from psycopg.rows import TupleRow

from delegator.config import Settings
from delegator.errors import DatabaseError, SchemaError, first_line
from delegator.postgres.connections import connect

# An additional column does no harm: an older release sees one while a newer release is rolled out.
# A published table is compared by schema and name, without a cast to regclass. PostgreSQL would cast every table of the
# database, and a plain role may not read every schema.
_CHECK = """
    SELECT wanted.name, current_user, to_regclass(wanted.quoted) IS NOT NULL,
        EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = wanted.name AND relkind IN ('r', 'p')),
        ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
            WHERE attrelid = to_regclass(wanted.quoted) AND attnum > 0 AND NOT attisdropped),
        ARRAY(SELECT privilege FROM unnest(%(privileges)s::text[]) AS privilege
            WHERE NOT has_table_privilege(to_regclass(wanted.quoted), privilege)),
        wanted.publication,
        EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = wanted.publication),
        EXISTS (SELECT FROM pg_catalog.pg_publication_tables AS published
            JOIN pg_catalog.pg_namespace AS namespace ON namespace.nspname = published.schemaname
            JOIN pg_catalog.pg_class AS class
                ON class.relnamespace = namespace.oid AND class.relname = published.tablename
            WHERE published.pubname = wanted.publication AND class.oid = to_regclass(wanted.quoted))
    FROM unnest(%(names)s::text[], %(quoted)s::text[], %(publications)s::text[])
        AS wanted (name, quoted, publication)"""


async def check(settings: Settings, *, queues: Sequence[str] | None = None) -> None:
    """Make sure that the tables of the queues exist, have the columns this release uses, and are published.

    Any role may run it. It also checks that this role may read and write these tables.

    Args:
        settings: where the database is, and the declared queues.
        queues: the queues that the caller uses; None: all declared ones.

    Raises:
        SchemaError: something is missing. The message says what, and what to run.
        ConfigurationError: the database URL is not one.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    used = settings.queues if queues is None else tuple(queues)
    declared = ",".join(dict.fromkeys((*settings.queues, *used)))
    tables = [*map(queue_table, used), *STATE_TABLES]
    publications = [*(queue_publication(queue, settings.publication) for queue in used), *[None] * len(STATE_TABLES)]
    parameters = {
        "publications": publications,
        "names": tables,
        "quoted": [quote(name) for name in tables],
        "privileges": list(APP.queue_privileges),
    }
    fix = f"run `delegator migrate` with DELEGATOR_QUEUES={declared}"
    for row in await _read(settings, parameters):
        table, role, exists, is_elsewhere, columns, denied, publication, has_publication, published = row
        grant = f"GRANT {quote(APP.name)} TO {quote(role)}"
        if not exists and is_elsewhere:
            raise SchemaError(f"role {role} does not see table {table}: {grant}, or set another search_path")
        if not exists:
            raise SchemaError(f"table {table} is missing: {fix}")
        if lacking := [name for name in column_names(table) if name not in columns]:
            raise SchemaError(f"table {table} lacks column {lacking[0]}: {fix}")
        if denied:
            raise SchemaError(f"role {role} may not {denied[0]} in table {table}: {grant}")
        if publication is not None and not has_publication:
            raise SchemaError(f"publication {publication} is missing: {fix}")
        if publication is not None and not published:
            raise SchemaError(f"table {table} is not in publication {publication}: {fix}")


async def _read(settings: Settings, parameters: dict[str, object]) -> list[TupleRow]:
    connection = await connect(settings.database_url.get_secret_value(), application_name="delegator-check")
    try:
        async with connection:
            return await (await connection.execute(_CHECK, parameters)).fetchall()
    except psycopg.OperationalError as error:
        raise DatabaseError(f"the database connection failed: {first_line(error)}") from None
    except psycopg.Error as error:
        raise DatabaseError(f"the database refused: {first_line(error)}") from None
