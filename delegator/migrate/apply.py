"""Applies migration files without an Atlas binary, and records them as Atlas does."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

import psycopg
from psycopg import AsyncConnection

from delegator.errors import SchemaError, first_line
from delegator.migrate.database import ATLAS_LOCK, advisory_lock
from delegator.migrate.directory import MigrationFile
from delegator.migrate.locks import Execute, in_short_transaction
from delegator.migrate.revisions import Revision, create_revision_table, read_revisions, write_revision

_log = logging.getLogger(__name__)


def pending(files: Sequence[MigrationFile], revisions: Sequence[Revision]) -> tuple[MigrationFile, ...]:
    """Return the files that are not applied yet.

    Raises:
        SchemaError: the database's history differs from these files.
    """
    if not revisions:
        return tuple(files)
    by_version = {file.version: file for file in files}
    last = revisions[-1].version
    for revision in revisions:
        known = by_version.get(revision.version)
        if not revision.complete:
            raise SchemaError(
                f"migration {revision.version} was applied in part ({revision.applied} of {revision.total} statements):"
                " finish it with `atlas migrate apply`, or fix the database and run `atlas migrate set`"
            )
        if known is None and revision.version > (files[-1].version if files else ""):
            raise SchemaError(
                f"the database has migration {revision.version}, newer than this installation knows:"
                " install the temporal-delegator release that migrated it"
            )
        if known is not None and revision.type == 2 and revision.hash not in ("", known.hash):
            raise SchemaError(
                f"checksum mismatch: {known.name} was applied with other content; install the release that applied it"
            )
    applied = {revision.version for revision in revisions}
    # A baseline (`atlas migrate apply --baseline`) replaces everything before it.
    baseline = max((revision.version for revision in revisions if revision.type != 2), default="")
    skipped = [f.name for f in files if baseline < f.version < last and f.version not in applied]
    if skipped:
        raise SchemaError(f"migration {skipped[0]} was never applied, but later ones were: run `atlas migrate status`")
    return tuple(file for file in files if file.version > last)


async def apply_files(connection: AsyncConnection, files: Sequence[MigrationFile]) -> tuple[str, ...]:
    """Apply the pending files, each in its own transaction, and return their names.

    Raises:
        SchemaError: the history differs, or a statement failed. A file that failed changed nothing.
    """
    async with advisory_lock(connection, ATLAS_LOCK):
        waiting = pending(files, await read_revisions(connection))
        if waiting:
            await create_revision_table(connection)
        for file in waiting:
            await _apply(connection, file)
            _log.info("migration_applied", extra={"file": file.name})
    return tuple(file.name for file in waiting)


async def _apply(connection: AsyncConnection, file: MigrationFile) -> None:
    if file.transactional:

        async def work(execute: Execute) -> None:
            took = timedelta()
            for number, statement in enumerate(file.statements, 1):
                took += await _timed(execute, file, number, statement)
            await write_revision(connection, file, len(file.statements), took)

        await in_short_transaction(connection, work, what=file.name)
        return

    async def execute(statement: str) -> None:
        await connection.execute(statement.encode())

    await write_revision(connection, file, 0, timedelta())
    for number, statement in enumerate(file.statements, 1):
        # Waits for transactions, and holds up none of them meanwhile.
        took = await _timed(execute, file, number, statement)
        await write_revision(connection, file, number, took)


async def _timed(execute: Execute, file: MigrationFile, number: int, statement: str) -> timedelta:
    started = time.perf_counter()
    try:
        await execute(statement)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
        raise
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise SchemaError(f"{file.name}, statement {number}: {first_line(error)}") from None
    return timedelta(seconds=time.perf_counter() - started)
