"""Brings the embedded database up to date."""

from __future__ import annotations

from pydantic import SecretStr

from delegator.config import Settings
from delegator.migrate import migrate


async def migrate_database(url: str, queues: tuple[str, ...]) -> None:
    """Apply the migrations.

    Args:
        url: of the database, for its owner.
        queues: declared queues; each gets its table.

    Raises:
        DelegatorError: the database refuses.
    """
    await migrate(Settings.load(database_url=SecretStr(url), queues=queues))
