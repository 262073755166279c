"""Atlas's revision table: which migrations were applied to a database. Atlas and this module read and write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from delegator_schema.queues import BASE_TABLE
from psycopg import AsyncConnection, sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from delegator.migrate.directory import MigrationFile
from delegator.migrate.statements import partial_hashes

OPERATOR = "temporal-delegator"
_TABLE_NAME = "atlas_schema_revisions"
_SHARED_SCHEMA = "atlas_schema_revisions"
"""Where Atlas keeps revisions unless it is told otherwise, and where an application that uses Atlas has its own."""
_COLUMNS = sql.SQL(
    "version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, partial_hashes,"
    " operator_version"
)
_EXECUTED = 2


@dataclass(frozen=True)
class Revision:
    """One row of the revision table."""

    version: str
    """Version of the migration."""
    type: int
    """A set of bits: 1 is a baseline, 2 is executed, 4 is resolved by hand."""
    applied: int
    """Statements executed."""
    total: int
    """Statements in the file."""
    hash: str
    """The file's checksum when it was executed; empty: not known."""

    @property
    def complete(self) -> bool:
        """Whether every statement was executed."""
        return self.applied == self.total


async def revisions_schema(connection: AsyncConnection) -> str:
    """Return the schema of the revisions: one for each schema that holds the engine's tables, and nobody else's."""
    row = await (await connection.execute("SELECT current_schema()::text")).fetchone()
    return _schema_beside("public" if row is None or row[0] is None else str(row[0]))


async def read_revisions(connection: AsyncConnection) -> list[Revision]:
    """Return the revisions in order; none if the table does not exist.

    Atlas keeps rows about itself under versions that start with a dot.
    """
    if not await _has_table(connection, await revisions_schema(connection)):
        return []
    query = sql.SQL(
        "SELECT version, type, applied, total, hash FROM {}"
        """ WHERE NOT starts_with(version, '.') ORDER BY version COLLATE "C" """
    ).format(await _table(connection))
    async with connection.cursor(row_factory=class_row(Revision)) as cursor:
        return await (await cursor.execute(query)).fetchall()


async def may_read_revisions(connection: AsyncConnection, schema: str | None) -> bool:
    """Return whether this role may read the revisions, or there are none. They are the owner's.

    Args:
        connection: with the role.
        schema: the schema of the tables; None: the session's. A role that may not use its schema has none there.
    """
    query = """
        SELECT has_schema_privilege(namespace.oid, 'USAGE') AND has_table_privilege(class.oid, 'SELECT')
        FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
        WHERE nspname = %s AND relname = %s"""
    place = await revisions_schema(connection) if schema is None else _schema_beside(schema)
    row = await (await connection.execute(query, [place, _TABLE_NAME])).fetchone()
    return row is None or bool(row[0])


async def create_revision_table(connection: AsyncConnection) -> None:
    """Create the table as Atlas creates it, unless it exists."""
    await ensure_schema(connection, await revisions_schema(connection))
    await connection.execute(
        sql.SQL(
            """CREATE TABLE IF NOT EXISTS {} (
                version varchar NOT NULL PRIMARY KEY,
                description varchar NOT NULL,
                type bigint NOT NULL DEFAULT 2,
                applied bigint NOT NULL DEFAULT 0,
                total bigint NOT NULL DEFAULT 0,
                executed_at timestamptz NOT NULL,
                execution_time bigint NOT NULL,
                error text,
                error_stmt text,
                hash varchar NOT NULL,
                partial_hashes jsonb,
                operator_version varchar NOT NULL
            )"""
        ).format(await _table(connection))
    )


async def adopt_revisions(connection: AsyncConnection, files: Sequence[MigrationFile]) -> None:
    """Copy our revisions from the schema that they once shared with others, if this schema has the engine's tables.

    Args:
        connection: in autocommit mode.
        files: the migrations. Other revisions are left alone.
    """
    schema = await revisions_schema(connection)
    if await _has_table(connection, schema) or not await _has_table(connection, _SHARED_SCHEMA):
        return
    has_tables = "SELECT FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = %s"
    if await (await connection.execute(has_tables, [BASE_TABLE])).fetchone() is None:
        return
    async with connection.transaction():
        await create_revision_table(connection)
        await connection.execute(
            sql.SQL("INSERT INTO {} ({columns}) SELECT {columns} FROM {} WHERE version = ANY(%s)").format(
                sql.Identifier(schema, _TABLE_NAME), sql.Identifier(_SHARED_SCHEMA, _TABLE_NAME), columns=_COLUMNS
            ),
            [[file.version for file in files]],
        )


async def ensure_schema(connection: AsyncConnection, name: str) -> None:
    """Create a schema unless it exists. Where an administrator has made it, no right to create one is needed."""
    if await (await connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", [name])).fetchone():
        return
    await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name)))


async def write_revision(connection: AsyncConnection, file: MigrationFile, applied: int, took: timedelta) -> None:
    """Record that the first `applied` statements of `file` were executed.

    Args:
        connection: in the transaction that executed them, if there is one.
        file: the migration.
        applied: statements executed so far.
        took: their run time. Atlas keeps it in nanoseconds.
    """
    statements = file.statements
    await connection.execute(
        sql.SQL(
            """INSERT INTO {} AS revision (version, description, type, applied, total, executed_at, execution_time,
                error, error_stmt, hash, partial_hashes, operator_version)
            VALUES (%s, %s, %s, %s, %s, now(), %s, '', '', %s, %s, %s)
            ON CONFLICT (version) DO UPDATE SET applied = excluded.applied, executed_at = excluded.executed_at,
                execution_time = revision.execution_time + excluded.execution_time,
                partial_hashes = excluded.partial_hashes,
                operator_version = excluded.operator_version"""
        ).format(await _table(connection)),
        [
            file.version,
            file.description,
            _EXECUTED,
            applied,
            len(statements),
            round(took / timedelta(microseconds=1)) * 1000,
            file.hash,
            Jsonb(partial_hashes(statements[:applied])),
            OPERATOR,
        ],
    )


async def _table(connection: AsyncConnection) -> sql.Identifier:
    return sql.Identifier(await revisions_schema(connection), _TABLE_NAME)


def _schema_beside(schema: str) -> str:
    return "delegator_revisions" if schema == "public" else f"delegator_revisions_{schema}"


async def _has_table(connection: AsyncConnection, schema: str) -> bool:
    query = "SELECT FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = %s"
    return await (await connection.execute(query, [schema, _TABLE_NAME])).fetchone() is not None
