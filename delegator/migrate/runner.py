"""`migrate`: the whole of it, one at a time per database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from delegator.config import Settings
from delegator.migrate.apply import apply_files
from delegator.migrate.database import DELEGATOR_LOCK, advisory_lock, connect
from delegator.migrate.directory import migrations_directory, read_migrations
from delegator.migrate.queues import ensure_queues


@dataclass(frozen=True)
class MigrationReport:
    """What a migration did."""

    applied: tuple[str, ...]
    """Names of the migration files that were applied."""
    created_queues: tuple[str, ...]
    """Queues whose tables were created."""


async def migrate(settings: Settings, *, directory: Path | None = None) -> MigrationReport:
    """Bring the database to the declared state; does nothing where it is there already.

    Safe to run from several processes at once.

    Args:
        settings: where the database is, and which queues it should have.
        directory: the migrations; None for those that came with this installation.

    Raises:
        SchemaError: the files or the database are not what they should be.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    files = read_migrations(directory or migrations_directory())
    async with connect(settings) as connection, advisory_lock(connection, DELEGATOR_LOCK):
        applied = await apply_files(connection, files)
        created = await ensure_queues(connection, settings.queues, settings.publication)
    return MigrationReport(applied, created)
