"""Brings the embedded database up to date."""

from __future__ import annotations

from pydantic import SecretStr

from delegator.config import Settings


async def migrate_database(url: str, queues: tuple[str, ...]) -> None:
    """Apply the migrations.

    Args:
        url: of the database, with its owner as the user.
        queues: the declared queues. Each gets a table.

    Raises:
        DelegatorError: the database refuses.
    """
    # Imported here, so that other parts of `delegator.dev` do not load SQLAlchemy.
    from delegator.migrate import migrate

    await migrate(Settings.load(database_url=SecretStr(url), queues=queues))
