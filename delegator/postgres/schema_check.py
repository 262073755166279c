"""The cheap schema check that every process runs when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from delegator_schema.columns import column_names
from delegator_schema.ddl import STATE_TABLES, quote
from delegator_schema.queues import queue_publication, queue_table
from delegator_schema.roles import APP, Role
from psycopg.rows import TupleRow

from delegator.config import Settings
from delegator.errors import DatabaseError, SchemaError, first_line
from delegator.postgres.connections import DatabaseAddress, connect

# An additional column does no harm: an older release sees one while a newer release is rolled out.
# A published table is compared by schema and name, without a cast to regclass. PostgreSQL would cast every table of the
# database, and a plain role may not read every schema.
_CHECK = """
    SELECT wanted.name, current_user, to_regclass(wanted.quoted) IS NOT NULL,
        EXISTS (SELECT FROM pg_catalog.pg_class AS class
            JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
            WHERE relname = wanted.name AND relkind IN ('r', 'p') AND nspname = coalesce(%(schema)s::text, nspname)),
        ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
            WHERE attrelid = to_regclass(wanted.quoted) AND attnum > 0 AND NOT attisdropped),
        ARRAY(SELECT privilege FROM unnest(string_to_array(wanted.privileges, ',')) AS privilege
            WHERE NOT has_table_privilege(to_regclass(wanted.quoted), privilege)),
        ARRAY(SELECT privilege FROM unnest(string_to_array(wanted.privileges, ',')) AS privilege
            WHERE NOT has_table_privilege(team.oid, to_regclass(wanted.quoted), privilege)),
        (SELECT namespace.nspname::text FROM pg_catalog.pg_class AS class
            JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
            WHERE relname = wanted.name AND relkind IN ('r', 'p') AND nspname = coalesce(%(schema)s::text, nspname)
                AND NOT has_schema_privilege(team.oid, namespace.oid, 'USAGE') LIMIT 1),
        pg_has_role(team.oid, 'MEMBER'), pg_has_role(team.oid, 'USAGE'),
        (SELECT rolinherit FROM pg_catalog.pg_roles WHERE rolname = current_user),
        current_setting('server_version_num')::int >= 160000,
        wanted.publication,
        EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = wanted.publication),
        EXISTS (SELECT FROM pg_catalog.pg_publication_tables AS published
            JOIN pg_catalog.pg_namespace AS namespace ON namespace.nspname = published.schemaname
            JOIN pg_catalog.pg_class AS class
                ON class.relnamespace = namespace.oid AND class.relname = published.tablename
            WHERE published.pubname = wanted.publication AND class.oid = to_regclass(wanted.quoted))
    FROM unnest(%(names)s::text[], %(quoted)s::text[], %(publications)s::text[], %(privileges)s::text[])
        AS wanted (name, quoted, publication, privileges)
    LEFT JOIN pg_catalog.pg_roles AS team ON team.rolname = %(team)s"""


@dataclass(frozen=True, slots=True)
class _Membership:
    """How a log-in role belongs to the engine's group role."""

    role: str
    """The log-in role."""
    group: str
    """The engine's group role."""
    is_member: bool | None
    """Whether it is a member, directly or not; None: the group does not exist."""
    uses: bool | None
    """Whether it has the group's privileges without SET ROLE."""
    inherits: bool
    """Whether the role has the attribute INHERIT."""
    grants_inheritance: bool
    """Whether inheritance belongs to each membership, as from PostgreSQL 16 on."""

    def cure(self, missing: str | None) -> str | None:
        """Return the statements that give the role what it lacks; None: membership is not the cause.

        Args:
            missing: the GRANT that the group lacks; None: it lacks nothing.
        """
        group, role = quote(self.group), quote(self.role)
        if self.uses:
            return missing
        if not self.is_member:
            own = f"GRANT {group} TO {role}"
        elif self.grants_inheritance:
            own = f"GRANT {group} TO {role} WITH INHERIT TRUE"
        else:
            own = f"GRANT {group} TO {role}" if self.inherits else f"ALTER ROLE {role} INHERIT"
        return own if missing is None else f"{missing}; {own}"


async def check(settings: Settings, *, queues: Sequence[str] | None = None, process: Role = APP) -> None:
    """Make sure that the tables of the queues exist, have the columns this release uses, and are published.

    Any role may run it. It also checks that this role may read and write these tables.

    Args:
        settings: where the database is, and the declared queues.
        queues: the queues that the caller uses; None: all declared ones.
        process: the group role of the calling process. The privileges that it has are the ones that are needed.

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
        "privileges": [",".join(process.privileges(table)) for table in tables],
        "team": process.name,
        "schema": settings.schema_name,
    }
    fix = f"run `delegator migrate` with DELEGATOR_QUEUES={declared}"
    for row in await _read(settings, parameters):
        table, role, exists, is_elsewhere, columns, denied, group_denied, hidden_in = row[:8]
        membership = _Membership(role, process.name, *row[8:12])
        publication, has_publication, published = row[12:]
        if not exists and is_elsewhere:
            usage = hidden_in and f"GRANT USAGE ON SCHEMA {quote(hidden_in)} TO {quote(process.name)}"
            grant = membership.cure(usage or None)
            other = None if settings.schema_name else "set DELEGATOR_SCHEMA to its schema"
            advice = ", or ".join(filter(None, (grant, other))) or "run `delegator migrate --check`"
            raise SchemaError(f"role {role} does not see table {table}: {advice}")
        if not exists:
            raise SchemaError(f"table {table} is missing: {fix}")
        if lacking := [name for name in column_names(table) if name not in columns]:
            raise SchemaError(f"table {table} lacks column {lacking[0]}: {fix}")
        if denied:
            privileges = ", ".join(group_denied)
            missing = f"GRANT {privileges} ON TABLE {quote(table)} TO {quote(process.name)}" if group_denied else None
            cure = membership.cure(missing) or "run `delegator migrate --check`"
            raise SchemaError(f"role {role} may not {denied[0]} in table {table}: {cure}")
        if publication is not None and not has_publication:
            raise SchemaError(f"publication {publication} is missing: {fix}")
        if publication is not None and not published:
            raise SchemaError(f"table {table} is not in publication {publication}: {fix}")


async def _read(settings: Settings, parameters: dict[str, object]) -> list[TupleRow]:
    connection = await connect(DatabaseAddress.of(settings), application_name="delegator-check")
    try:
        async with connection:
            return await (await connection.execute(_CHECK, parameters)).fetchall()
    except psycopg.OperationalError as error:
        raise DatabaseError(f"the database connection failed: {first_line(error)}") from None
    except psycopg.Error as error:
        raise DatabaseError(f"the database refused: {first_line(error)}") from None
