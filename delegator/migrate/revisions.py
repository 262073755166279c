"""Atlas's revision table: which migrations were applied to a database. Atlas and this module read and write it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from psycopg import AsyncConnection, sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from delegator.migrate.directory import MigrationFile
from delegator.migrate.statements import partial_hashes

REVISIONS_SCHEMA = "atlas_schema_revisions"
OPERATOR = "temporal-delegator"
_TABLE = sql.Identifier(REVISIONS_SCHEMA, "atlas_schema_revisions")
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


async def read_revisions(connection: AsyncConnection) -> list[Revision]:
    """Return the revisions in order; none if the table does not exist.

    Atlas keeps rows about itself under versions that start with a dot.
    """
    found = await connection.execute("SELECT to_regclass(%s)", [f"{REVISIONS_SCHEMA}.atlas_schema_revisions"])
    row = await found.fetchone()
    if row is None or row[0] is None:
        return []
    query = sql.SQL(
        "SELECT version, type, applied, total, hash FROM {}"
        """ WHERE NOT starts_with(version, '.') ORDER BY version COLLATE "C" """
    ).format(_TABLE)
    async with connection.cursor(row_factory=class_row(Revision)) as cursor:
        return await (await cursor.execute(query)).fetchall()


async def create_revision_table(connection: AsyncConnection) -> None:
    """Create the table as Atlas creates it, unless it exists."""
    await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(REVISIONS_SCHEMA)))
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
        ).format(_TABLE)
    )


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
        ).format(_TABLE),
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
