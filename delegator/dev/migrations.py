"""Brings the embedded database up to date."""

from __future__ import annotations

from pydantic import SecretStr

from delegator.config import Settings


async def migrate_database(url: str, queues: tuple[str, ...]) -> None:
    """Apply the migrations.

    Args:
        url: of the database, for its owner.
        queues: declared queues; each gets its table.

    Raises:
        DelegatorError: the database refuses.
    """
    # Here, so that whoever needs something else of `delegator.dev` does not load SQLAlchemy for it.
    from delegator.migrate import migrate

    await migrate(Settings.load(database_url=SecretStr(url), queues=queues))
