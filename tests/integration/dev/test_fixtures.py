"""The shared fixtures do what other tests rely on."""

import psycopg
from temporalio.client import Client

from delegator.config import Settings
from tests.conftest import MakeDatabase
from tests.support import Database


async def test_databases(make_database: MakeDatabase) -> None:
    """Two databases of the fixture are separate, and each has the publication."""
    one, two = await make_database(), await make_database()
    async with await psycopg.AsyncConnection.connect(one.url, autocommit=True) as connection:
        await connection.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('a', 't')")
    async with await psycopg.AsyncConnection.connect(two.url) as connection:
        assert (await (await connection.execute("SELECT count(*) FROM custom_task_queue")).fetchone()) == (0,)
        tables = await connection.execute(
            "SELECT tablename FROM pg_publication_tables WHERE pubname = %s", (Settings().publication,)
        )
        assert await tables.fetchall() == [("custom_task_queue",)]
    assert one.settings.slot != two.settings.slot


async def test_drop_with_slots(make_database: MakeDatabase, database: Database) -> None:
    """A database of the fixture is dropped together with its replication slots."""
    made = await make_database()
    async with await psycopg.AsyncConnection.connect(made.url, autocommit=True) as connection:
        await connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (made.settings.slot,))


async def test_temporal_answers(temporal_client: Client) -> None:
    assert await temporal_client.service_client.check_health()
