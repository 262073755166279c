"""The relay streams a publication only while it is as `delegator migrate` makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from delegator.config import Settings
from delegator.dev.migrations import migrate_database
from delegator.errors import SchemaError
from delegator.relay import RelayHandle
from tests.support import Database, Databases

from .client import STREAM, Puller, enqueue, execute, relay, until

PUBLISH = f"ALTER PUBLICATION delegator_publication SET TABLE {STREAM}"
DECLARED = f"{PUBLISH} (job_id, fencing_token)"


async def status(puller: Puller, path: str) -> int:
    async with puller.session.get(puller.url + path) as response:
        return response.status


async def mended(handle: RelayHandle) -> bool:
    return handle.relay.state.connected and handle.relay.state.slot_recreated == 1


@pytest.mark.parametrize(
    "altered",
    [
        PUBLISH,
        f"{PUBLISH} (job_id, fencing_token, job_type)",
        f"{PUBLISH} (fencing_token)",
        f"{DECLARED} WHERE (attempt < 5)",
    ],
    ids=["whole rows", "one more", "one less", "filter"],
)
async def test_refused_at_start(database: Database, altered: str) -> None:
    """A publication of other columns, or of some rows only, is refused; nothing is changed."""
    await execute(database, altered)
    with pytest.raises(SchemaError, match=r"^publication delegator_publication .*: run `delegator migrate`$"):
        async with relay(database):
            pass
    assert await execute(database, "SELECT FROM pg_replication_slots WHERE database = %s", database.name) == []


async def test_refused_for_all_tables(database: Database) -> None:
    """A publication of all tables has no list of columns, so it publishes payloads."""
    await execute(database, "CREATE PUBLICATION everything FOR ALL TABLES")
    with pytest.raises(SchemaError, match="publication everything "):
        async with relay(database, publication="everything"):
            pass


async def test_refused_while_streaming(database: Database) -> None:
    """A publication that changes stops its stream until it is mended; then every job arrives."""
    async with relay(database) as (handle, puller):
        await enqueue(database, 1, 3)
        assert await puller.drain() == ["j1", "j2", "j3"]
        await execute(database, f"DELETE FROM {STREAM}")
        await execute(database, PUBLISH)
        await enqueue(database, 4, 6)

        async def refused() -> bool:
            return "run `delegator migrate`" in (handle.relay.state.problem or "")

        await until(refused)
        assert [await status(puller, path) for path in ("/health", "/readyz", "/livez")] == [503, 503, 200]
        assert (await puller.post("receive", {}))[1] == {"data": []}
        await execute(database, DECLARED)

        await until(lambda: mended(handle))
        await enqueue(database, 7, 7)
        assert {*await puller.drain()} == {"j4", "j5", "j6", "j7"}
        assert [await status(puller, path) for path in ("/health", "/readyz", "/livez")] == [200, 200, 200]


async def test_old_rows_in_the_slot(database: Database) -> None:
    """Rows that were published with other columns while no relay ran are published again."""
    async with relay(database):
        pass
    await execute(database, PUBLISH)
    await enqueue(database, 1, 3)
    await execute(database, DECLARED)
    async with relay(database) as (handle, puller):
        await until(lambda: mended(handle))
        assert sorted(await puller.drain()) == ["j1", "j2", "j3"]
        assert await puller.metric("delegator_relay_slot_recreated_total") == 1


async def test_other_tables_do_not_matter(database: Database) -> None:
    """A table that somebody adds to the publication is not the stream's."""
    await execute(database, "CREATE TABLE other (id int, payload bytea)")
    await execute(database, "ALTER PUBLICATION delegator_publication ADD TABLE other")
    async with relay(database) as (handle, puller):
        await execute(database, "INSERT INTO other VALUES (1, 'x')")
        await enqueue(database, 1, 1)
        assert await puller.drain() == ["j1"]
        assert handle.relay.state.reconnects == 0


DROPPED = {
    "publication": ["DROP PUBLICATION delegator_publication"],
    "table in publication": [f"ALTER PUBLICATION delegator_publication DROP TABLE {STREAM}"],
    "table": [f"CREATE TABLE kept (LIKE {STREAM} INCLUDING ALL)", f"DROP TABLE {STREAM}"],
}
MADE = {
    "publication": [f"CREATE PUBLICATION delegator_publication FOR TABLE {STREAM} (job_id, fencing_token)"],
    "table in publication": [DECLARED],
    "table": [f"ALTER TABLE kept RENAME TO {STREAM}", DECLARED],
}


@pytest.fixture(params=["embedded", pytest.param("15", marks=pytest.mark.atlas)])
async def either(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[Database]:
    """A migrated database of the embedded PostgreSQL 18, and of Debian's 15."""
    if request.param == "15":
        url = request.getfixturevalue("postgres15").database()
        await migrate_database(url, ("default",))
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        yield Database(url, str(name), Settings.load(database_url=url, slot=f"slot_{name}"))
    else:
        async with databases.fresh() as database:
            yield database


@pytest.mark.parametrize("what", DROPPED)
async def test_dropped_while_streaming(either: Database, what: str) -> None:
    """A quiet stream says that its publication or table is gone. When it is back, the stream goes on by itself."""
    async with relay(either, inspect_interval=0.2) as (handle, puller):
        for statement in DROPPED[what]:
            await execute(either, statement)

        async def noticed() -> bool:
            return not handle.relay.state.connected and "delegator migrate" in (handle.relay.state.problem or "")

        await until(noticed)
        assert await status(puller, "/health") == 503
        if what != "table":
            await enqueue(either, 1, 2)
        for statement in MADE[what]:
            await execute(either, statement)
        await until(lambda: mended(handle))
        await enqueue(either, 3, 3)
        expected = {"j3"} if what == "table" else {"j1", "j2", "j3"}
        assert {*await puller.drain()} == expected
