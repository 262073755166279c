"""`migrate`: all steps of a migration. One migration runs at a time in a database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delegator_schema.ddl import quote
from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from psycopg import AsyncConnection

from delegator.config import Settings
from delegator.errors import SchemaError
from delegator.migrate.apply import apply_files, pending
from delegator.migrate.atlas_cli import apply_with_atlas, find_atlas
from delegator.migrate.database import DELEGATOR_LOCK, advisory_lock, connect
from delegator.migrate.directory import MigrationFile, migrations_directory, read_migrations
from delegator.migrate.drift import Finding, find_drift
from delegator.migrate.queues import ensure_queues, existing_queues, leave_shared_publication
from delegator.migrate.revisions import adopt_revisions, ensure_schema, may_read_revisions, read_revisions

_OLDEST_SERVER = 150000


@dataclass(frozen=True)
class MigrationReport:
    """What a migration did, or what it would do."""

    applied: tuple[str, ...]
    """Names of the migration files that were applied (`inspect`: that are pending)."""
    created_queues: tuple[str, ...]
    """Queues whose tables were created (`inspect`: that are missing)."""
    findings: tuple[Finding, ...]
    """How the database differs from the declarations. After `migrate` none of them is an error."""
    atlas: Path | None = None
    """The Atlas binary that applied the files; None: they were applied without Atlas."""
    are_revisions_known: bool = True
    """Whether it is known which files were applied. If not, `applied` is empty."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that must be fixed."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to do and there is nothing to fix."""
        return not (self.applied or self.created_queues or self.errors)


async def migrate(
    settings: Settings, *, directory: Path | None = None, atlas: Path | None = None, use_atlas: bool = True
) -> MigrationReport:
    """Bring the database to the declared state. Parts that are right already do not change.

    Applies the migrations, creates the tables of the declared additional queues and the publication of each queue, and
    compares the result with the declarations. It is safe to run from several processes at once.

    Args:
        settings: where the database is, and which queues it should have.
        directory: the migrations; None: those of this installation.
        atlas: the Atlas binary; None: DELEGATOR_ATLAS, or the one on PATH, if there is one.
        use_atlas: False: apply the files without a binary.

    Raises:
        SchemaError: the files or the database's history are wrong, or the database differs from the declarations in
            something that migrations do not fix. One line for each difference says what to run.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    directory = directory or migrations_directory()
    files = read_migrations(directory)
    binary = (atlas or find_atlas(os.environ)) if use_atlas else None
    async with connect(settings) as connection:
        _check_server(connection)
        async with advisory_lock(connection, DELEGATOR_LOCK):
            if settings.schema_name is not None:
                await ensure_schema(connection, settings.schema_name)
            await _check_schema(connection)
            await adopt_revisions(connection, files)
            applied, binary = await _apply(connection, directory, files, binary)
            created = await ensure_queues(connection, settings.queues, settings.publication)
            if settings.schema_name is not None:
                await leave_shared_publication(connection, settings.publication)
        report = MigrationReport(applied, created, await find_drift(connection, settings), binary)
    if report.errors:
        raise SchemaError(describe(report.errors))
    return report


async def inspect(settings: Settings, *, directory: Path | None = None, by_any_role: bool = False) -> MigrationReport:
    """Report what `migrate` would do, and how the database differs from the declarations. Nothing is changed.

    Args:
        settings: where the database is, and which queues it should have.
        directory: the migrations; None: those of this installation.
        by_any_role: leave out which migrations were applied if this role may not read it. Only the owner may.

    Raises:
        SchemaError: the files or the database's history are wrong.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    files = read_migrations(directory or migrations_directory())
    async with connect(settings, locks=False) as connection:
        _check_server(connection)
        known = not by_any_role or await may_read_revisions(connection, settings.schema_name)
        waiting = pending(files, await read_revisions(connection)) if known else ()
        present = {DEFAULT_QUEUE, *await existing_queues(connection)}
        findings = await find_drift(connection, settings)
    missing = tuple(queue for queue in settings.queues if queue not in present)
    return MigrationReport(tuple(file.name for file in waiting), missing, findings, are_revisions_known=known)


def describe(findings: Sequence[Finding]) -> str:
    """Return one message with a line for each finding."""
    if len(findings) == 1:
        return str(findings[0])
    lines = "".join(f"\n  {finding}" for finding in findings)
    return f"the database differs from the declarations in {len(findings)} points:{lines}"


def _check_server(connection: AsyncConnection) -> None:
    version = connection.info.server_version
    if version < _OLDEST_SERVER:
        raise SchemaError(f"PostgreSQL 15 or newer is needed; this is {version // 10000}: upgrade the server")


async def _check_schema(connection: AsyncConnection) -> None:
    """Refuse a schema in which this role can't make the tables, before anything is changed."""
    query = """
        SELECT current_schema()::text, has_schema_privilege(current_schema(), 'CREATE'), current_user::text,
            to_regclass(%s) IS NOT NULL"""
    row = await (await connection.execute(query, [queue_table(DEFAULT_QUEUE)])).fetchone()
    schema, may_create, role, is_migrated = row or (None, False, "", False)
    if schema is None:
        raise SchemaError(
            f"role {role} has no schema for the tables: set DELEGATOR_SCHEMA to one; it is made if it is missing"
        )
    if not may_create and not is_migrated:
        raise SchemaError(
            f"role {role} may not make tables in schema {schema}: run GRANT CREATE ON SCHEMA {quote(schema)} TO "
            f"{quote(role)} as its owner, or set DELEGATOR_SCHEMA to a schema of their own"
        )


async def _apply(
    connection: AsyncConnection, directory: Path, files: Sequence[MigrationFile], binary: Path | None
) -> tuple[tuple[str, ...], Path | None]:
    waiting = pending(files, await read_revisions(connection))
    if waiting and binary and await apply_with_atlas(binary, connection, directory, waiting):
        if left := pending(files, await read_revisions(connection)):
            raise SchemaError(f"{binary} left {left[0].name} unapplied: run `atlas migrate status`")
        return tuple(file.name for file in waiting), binary
    return await apply_files(connection, files), None
