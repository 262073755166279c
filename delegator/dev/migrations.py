"""Brings the embedded database up to date."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import create_engine, text

from delegator.config import Settings
from schema.models import Base


async def migrate_database(url: str, queues: tuple[str, ...]) -> None:
    """Create or update the engine's tables and publication.

    Args:
        url: of the database, for its owner.
        queues: declared queues; each gets its table.

    Raises:
        DelegatorError: the database refuses.
    """
    settings = Settings.load(database_url=SecretStr(url), queues=queues)
    engine = create_engine(settings.database_url.get_secret_value().replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(text("DROP PUBLICATION IF EXISTS delegator_publication"))
        connection.execute(
            text("CREATE PUBLICATION delegator_publication FOR TABLE custom_task_queue WITH (publish = 'insert')")
        )
    engine.dispose()
