"""The script of the page "Uninstall"."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from delegator_schema.queues import queue_slot

from delegator.config import Settings
from delegator.migrate import migrate
from tests.conftest import MakeDatabase
from tests.support.pages import blocks

PAGE = Path(__file__).parents[3] / "docs/operating/uninstall.md"
EVERYTHING = """
    SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'
    UNION ALL SELECT 'relation', relnamespace::regnamespace || '.' || relname FROM pg_class WHERE oid >= 16384
        AND relnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 'function', oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'publication', pubname::text FROM pg_publication
    UNION ALL SELECT 'slot', slot_name::text FROM pg_replication_slots WHERE database = current_database()
    ORDER BY 1, 2"""


@pytest.mark.parametrize("schema", [None, "jobs"])
async def test_uninstall(make_database: MakeDatabase, schema: str | None) -> None:
    """It leaves what is not the engine's, and nothing else; the engine can be installed again."""
    database = await make_database(migrated=False)
    given = {"schema_name": schema} if schema else {}
    settings = Settings.load(database_url=database.url, queues="default,mails", slot=database.settings.slot, **given)
    (script,) = (block.code for block in blocks(PAGE) if block.title == "uninstall.sql")
    for documented, name in (
        ("'public';", f"'{schema or 'public'}';"),
        ("'delegator_publication';", f"'{settings.publication}';"),
        ("'delegator_slot';", f"'{settings.slot}';"),
    ):
        assert documented in script
        script = script.replace(documented, name)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:

        async def everything() -> list[tuple[str, str]]:
            return await (await connection.execute(EVERYTHING)).fetchall()

        await connection.execute("CREATE TABLE orders (id int)")
        await connection.execute("CREATE PUBLICATION theirs FOR TABLE orders")
        before = await everything()
        await migrate(settings)
        for queue in settings.queues:
            name = queue_slot(queue, settings.slot)
            await connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        assert len(await everything()) > len(before) + 20
        await connection.execute(script.encode())
        assert await everything() == before
        assert (await migrate(settings)).applied
