"""`migrate` on real databases: fresh, again, at once, tampered with, with additional queues."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import psycopg
import pytest
from delegator_schema.publications import PUBLICATION

from delegator.config import Settings
from delegator.errors import ConfigurationError, DatabaseError, SchemaError
from delegator.migrate import check, inspect, migrate
from delegator.migrate.atlas_cli import database_url, find_atlas
from delegator.migrate.database import DELEGATOR_LOCK, advisory_lock, connect
from delegator.migrate.directory import migrations_directory, read_migrations
from delegator.migrate.revisions import OPERATOR
from tests.conftest import MakeDatabase
from tests.support import Database, write_sum

FILES = tuple(file.name for file in read_migrations(migrations_directory()))


@pytest.fixture(autouse=True)
def no_atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELEGATOR_ATLAS", "off")


@pytest.fixture
async def empty(make_database: MakeDatabase) -> Database:
    return await make_database(migrated=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(migrations_directory(), tmp_path / "migrations"))


def add(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    write_sum(directory)


async def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        return list(await (await connection.execute(query.encode())).fetchall())


async def execute(database: Database, query: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute(query.encode())


async def test_a_fresh_database_then_again(empty: Database) -> None:
    first = await migrate(empty.settings)
    second = await migrate(empty.settings)

    assert first.applied == FILES
    assert first.findings == ()
    assert not first.up_to_date
    assert second.up_to_date
    recorded = await rows(
        empty,
        "SELECT version || '_' || description || '.sql', type, applied = total AND total > 0, error, operator_version,"
        " execution_time > 0 FROM delegator_revisions.atlas_schema_revisions ORDER BY version",
    )
    assert recorded == [(name, 2, True, "", OPERATOR, True) for name in FILES]


async def test_concurrent_migrations(empty: Database) -> None:
    """One of several migrations at once applies the files, and one creates the queues."""
    settings = Settings.load(database_url=empty.url, queues="default,video,audio")

    reports = await asyncio.gather(*(migrate(settings) for _ in range(6)))

    assert sorted((report.applied for report in reports), key=len) == [()] * 5 + [FILES]
    assert sorted((report.created_queues for report in reports), key=len) == [()] * 5 + [("video", "audio")]
    published = await rows(empty, "SELECT pubname, tablename FROM pg_publication_tables ORDER BY 1")
    assert published == [
        ("delegator_publication", "custom_task_queue"),
        ("delegator_publication_audio", "custom_task_queue_audio"),
        ("delegator_publication_video", "custom_task_queue_video"),
    ]


async def test_databases_of_one_cluster(make_database: MakeDatabase) -> None:
    """Several databases of one cluster can be migrated at once."""
    databases = [await make_database(migrated=False) for _ in range(3)]

    reports = await asyncio.gather(*(migrate(database.settings) for database in databases))

    assert [report.applied for report in reports] == [FILES] * 3


async def test_application_tables(empty: Database) -> None:
    """The migration works in a database that has the application's tables."""
    async with await psycopg.AsyncConnection.connect(empty.url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY)")

    assert (await migrate(empty.settings)).applied == FILES


async def test_own_schema(empty: Database) -> None:
    """The migration works in a schema that the URL's search_path names."""
    async with await psycopg.AsyncConnection.connect(empty.url, autocommit=True) as connection:
        await connection.execute('CREATE SCHEMA "My Jobs"')
    settings = Settings.load(database_url=empty.url + "?options=-csearch_path%3D%22My%5C%20Jobs%22", queues="default,a")

    await migrate(settings)
    await check(settings)

    assert await rows(empty, "SELECT DISTINCT schemaname FROM pg_publication_tables") == [("My Jobs",)]


async def test_an_additional_queue(database: Database) -> None:
    settings = Settings.load(database_url=database.url, queues="video")

    report = await migrate(settings)

    assert (report.applied, report.created_queues, report.findings) == ((), ("video",), ())
    published = await rows(database, "SELECT pubname, tablename FROM pg_publication_tables ORDER BY 1")
    assert published == [
        ("delegator_publication", "custom_task_queue"),
        ("delegator_publication_video", "custom_task_queue_video"),
    ]
    assert (await migrate(settings)).up_to_date
    await check(settings)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE delegator_app")
        await connection.execute("INSERT INTO custom_task_queue_video (job_id, job_type) VALUES ('j', 't')")
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("UPDATE custom_task_queue_video SET outcome = 'unheard of'")
        await connection.execute(
            "INSERT INTO custom_task_lease (role, holder, expires_at) VALUES ('worker', 'x', now())"
        )
        await connection.execute("RESET ROLE; SET ROLE delegator_stream")
        assert await (await connection.execute("SELECT job_id FROM custom_task_queue_video")).fetchall() == [("j",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT FROM custom_task_lease")


async def test_queues_follow_default(database: Database, directory: Path) -> None:
    """A migration of the default queue's table changes the tables of additional queues, too."""
    settings = Settings.load(database_url=database.url, queues="default,video")
    await migrate(settings)
    text = """ALTER TABLE custom_task_queue ADD COLUMN colour integer NOT NULL DEFAULT 7;
CREATE INDEX custom_task_queue_colour ON custom_task_queue (colour, enqueued_at DESC) WHERE colour > 0;
ALTER TABLE custom_task_queue ALTER COLUMN attempt SET DEFAULT 3;
"""
    add(directory, "29990101000000_colour.sql", text)

    with pytest.raises(SchemaError, match=r"column custom_task_queue.colour is not declared"):
        await migrate(settings, directory=directory)

    columns = "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = '{}'::regclass AND attname = 'colour'"
    assert await rows(database, columns.format("custom_task_queue_video")) == [("colour", True)]
    default = (
        "SELECT column_default FROM information_schema.columns WHERE table_name = '{}' AND column_name = 'attempt'"
    )
    assert await rows(database, default.format("custom_task_queue_video")) == [("3",)]
    definition = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '{}'::regclass"
    definitions = await rows(database, definition.format("custom_task_queue_video"))
    assert any("(colour, enqueued_at DESC) WHERE (colour > 0)" in str(row[0]) for row in definitions)
    assert len(definitions) == len(await rows(database, definition.format("custom_task_queue")))


async def test_a_tampered_file_is_refused(empty: Database, directory: Path) -> None:
    path = next(directory.glob("*_tables.sql"))
    path.write_text(path.read_text() + "DROP TABLE orders;\n")

    with pytest.raises(SchemaError, match="checksum mismatch"):
        await migrate(empty.settings, directory=directory)
    assert await rows(empty, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []


async def test_changed_file(database: Database, directory: Path) -> None:
    """A file that was changed after it was applied is refused."""
    path = next(directory.glob("*_roles.sql"))
    add(directory, path.name, path.read_text() + "SELECT 1;\n")

    with pytest.raises(SchemaError, match=f"checksum mismatch: {path.name} was applied with other content"):
        await migrate(database.settings, directory=directory)


async def test_failing_file(database: Database, directory: Path) -> None:
    """A file that fails is rolled back, with an error that names the file and the statement."""
    add(directory, "29990101000000_bad.sql", "CREATE TABLE half (a int);\nSELECT 1 / 0;\n")

    with pytest.raises(SchemaError, match=r"^29990101000000_bad.sql, statement 2: division by zero$"):
        await migrate(database.settings, directory=directory)

    assert await rows(database, "SELECT to_regclass('half')") == [(None,)]
    assert (await migrate(database.settings)).up_to_date


async def test_a_file_without_a_transaction(database: Database, directory: Path) -> None:
    text = "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY more ON custom_task_lease (role);\n{}"
    name = "29990101000000_index.sql"
    add(directory, name, text.format("SELECT 1 / 0;\n"))

    with pytest.raises(SchemaError, match="statement 2: division by zero"):
        await migrate(database.settings, directory=directory)
    with pytest.raises(SchemaError, match=r"migration 29990101000000 was applied in part \(1 of 2 statements\)"):
        await migrate(database.settings, directory=directory)

    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("DROP INDEX more")
        await connection.execute("DELETE FROM delegator_revisions.atlas_schema_revisions WHERE applied < total")
    add(directory, name, text.format(""))
    report = await migrate(database.settings, directory=directory)
    assert report.applied == (name,)
    assert [finding.problem.split()[1] for finding in report.findings] == ["more"]


async def test_concurrent_index(database: Database, directory: Path) -> None:
    """One of several migrations at once builds an index concurrently, and no deadlock occurs."""
    text = "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY more ON custom_task_queue (job_type);\n"
    add(directory, "29990101000000_index.sql", text)

    reports = await asyncio.gather(*(migrate(database.settings, directory=directory) for _ in range(5)))

    assert sum(len(report.applied) for report in reports) == 1


async def test_lock_timeout(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration fails with a clear error when another one keeps its lock."""
    monkeypatch.setattr("delegator.migrate.database.LOCK_TIMEOUT_SECONDS", 0.2)
    async with connect(database.settings) as holder, advisory_lock(holder, DELEGATOR_LOCK):
        with pytest.raises(DatabaseError, match=r"waited .* s for a lock: another migration"):
            await migrate(database.settings)


async def test_a_newer_database_is_refused(database: Database, directory: Path) -> None:
    add(directory, "29990101000000_later.sql", "SELECT 1;\n")
    await migrate(database.settings, directory=directory)

    with pytest.raises(SchemaError, match="newer than this installation knows"):
        await migrate(database.settings)


async def test_lost_table(database: Database) -> None:
    """A table that vanished after its migration is an error; it is not created again."""
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("DROP TABLE custom_task_queue")

    with pytest.raises(SchemaError, match="custom_task_queue is missing although its migration counts as applied"):
        await migrate(database.settings)


async def test_inspect_changes_nothing(empty: Database) -> None:
    settings = Settings.load(database_url=empty.url, queues="default,video")

    report = await inspect(settings)

    assert report.applied == FILES
    assert report.created_queues == ("video",)
    assert await rows(empty, "SELECT FROM pg_class WHERE relname LIKE '%custom_task%' OR relname LIKE 'atlas%'") == []


async def test_publication_upgrade(make_database: MakeDatabase) -> None:
    """Publications of every column get the declared ones; a table that was added to them is reported."""
    database = await make_database(queues=("default", "video"))
    for name, table in (("", ""), ("_video", "_video")):
        await execute(database, f"ALTER PUBLICATION delegator_publication{name} SET TABLE custom_task_queue{table}")
    await execute(database, "ALTER PUBLICATION delegator_publication ADD TABLE custom_task_lease")

    with pytest.raises(SchemaError, match="custom_task_lease, undeclared"):
        await migrate(database.settings)

    assert await rows(
        database,
        "SELECT pubname, tablename, attnames::text[] FROM pg_publication_tables"
        " WHERE tablename <> 'custom_task_lease' ORDER BY 1",
    ) == [
        ("delegator_publication", "custom_task_queue", list(PUBLICATION.columns)),
        ("delegator_publication_video", "custom_task_queue_video", list(PUBLICATION.columns)),
    ]


async def test_column_order(make_database: MakeDatabase) -> None:
    """The order of a table's columns does not matter."""
    database = await make_database(queues=("default", "video"))
    await execute(
        database,
        "ALTER TABLE custom_task_queue_video DROP COLUMN job_id CASCADE, ADD COLUMN job_id text PRIMARY KEY",
    )

    for _ in range(2):
        assert (await migrate(database.settings)).findings == ()

    assert await rows(
        database, "SELECT attnames::text[] FROM pg_publication_tables WHERE tablename = 'custom_task_queue_video'"
    ) == [(["fencing_token", "job_id"],)]


async def test_another_publication(database: Database) -> None:
    settings = Settings.load(database_url=database.url, publication="Mine")
    with pytest.raises(SchemaError, match=r"^publication Mine is missing: run `delegator migrate`"):
        await check(settings)

    await migrate(settings)

    await check(settings)
    published = await rows(database, "SELECT pubname, tablename FROM pg_publication_tables ORDER BY 1")
    assert published == [("Mine", "custom_task_queue"), ("delegator_publication", "custom_task_queue")]


async def test_check_publications(make_database: MakeDatabase) -> None:
    """`check` compares each queue with its own publication."""
    database = await make_database(queues=("default", "video"))
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("ALTER PUBLICATION delegator_publication_video SET TABLE custom_task_queue")
        with pytest.raises(SchemaError, match="custom_task_queue_video is not in publication delegator_publication_vi"):
            await check(database.settings)
        await check(database.settings, queues=["default"])
        await connection.execute("DROP PUBLICATION delegator_publication_video")
        with pytest.raises(SchemaError, match=r"publication delegator_publication_video is missing: run `delegator mi"):
            await check(database.settings)
        await check(database.settings, queues=["default"])

    assert (await migrate(database.settings)).created_queues == ()
    await check(database.settings)


async def test_check_says_what_to_run(empty: Database) -> None:
    settings = Settings.load(database_url=empty.url, queues="default,video")
    with pytest.raises(SchemaError, match=r"^table custom_task_queue is missing: run `delegator migrate` with"):
        await check(settings)

    await migrate(empty.settings)
    await check(settings, queues=["default"])
    message = r"^table custom_task_queue_video is missing: run `delegator migrate` with DELEGATOR_QUEUES=default,video$"
    with pytest.raises(SchemaError, match=message):
        await check(settings)
    with pytest.raises(SchemaError, match=r"custom_task_queue_other is missing: .*=default,video,other$"):
        await check(settings, queues=["other"])

    async with await psycopg.AsyncConnection.connect(empty.url, autocommit=True) as connection:
        await connection.execute("ALTER PUBLICATION delegator_publication DROP TABLE custom_task_queue")
        with pytest.raises(SchemaError, match="custom_task_queue is not in publication delegator_publication"):
            await check(empty.settings)
        await connection.execute("ALTER TABLE custom_task_lease DROP COLUMN holder")
    with pytest.raises(SchemaError, match="table custom_task_lease lacks column holder"):
        await check(empty.settings, queues=[])


async def test_bad_database_url() -> None:
    """An unreachable database and a malformed URL are errors that name the setting."""
    with pytest.raises(DatabaseError, match=r"can't connect to PostgreSQL \(DELEGATOR_DATABASE_URL\)"):
        await migrate(Settings.load(database_url="postgresql://x:secret@127.0.0.1:1/x"))
    with pytest.raises(ConfigurationError, match="neither a URL"):
        await check(Settings.load(database_url="no such thing"))


async def test_missing_rights(database: Database) -> None:
    """A role that may not create tables gets an error of one line."""
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("DROP ROLE IF EXISTS nobody_special")
        await connection.execute("CREATE ROLE nobody_special")
    settings = Settings.load(database_url=database.url + "?options=-crole%3Dnobody_special", queues="default,video")
    try:
        with pytest.raises(DatabaseError, match="permission denied"):
            await migrate(settings)
    finally:
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
            await connection.execute("DROP ROLE nobody_special")


async def test_the_url_for_atlas(database: Database) -> None:
    async with connect(database.settings) as connection:
        url = await database_url(connection)

    assert url.startswith("postgres://postgres:")
    assert f"/{database.name}?search_path=public&sslmode=disable" in url


def test_find_atlas(tmp_path: Path) -> None:
    """DELEGATOR_ATLAS names the program or switches it off; else PATH is searched."""
    binary = tmp_path / "atlas"
    assert find_atlas({"PATH": str(tmp_path)}) is None
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert find_atlas({"PATH": str(tmp_path)}) == binary
    assert find_atlas({"PATH": str(tmp_path), "DELEGATOR_ATLAS": "off"}) is None
    assert find_atlas({"PATH": "", "DELEGATOR_ATLAS": str(binary)}) == binary
    with pytest.raises(ConfigurationError, match="DELEGATOR_ATLAS: no program at /none"):
        find_atlas({"PATH": "", "DELEGATOR_ATLAS": "/none"})


async def test_heap_only_updates(database: Database) -> None:
    """Claims and completions are heap-only updates."""
    steps = [
        "SET lease_id = 1, fencing_token = fencing_token + 1, attempt = attempt + 1",
        "SET outcome = 'completed', result = input, completed_at = now()",
    ]
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO custom_task_queue (job_id, job_type, input)"
            " SELECT 'job-' || n, 'resize', decode(repeat('ab', 300), 'hex') FROM generate_series(1, 500) AS n"
        )
        for step in steps:
            for first in range(10):
                await connection.execute(f"UPDATE custom_task_queue {step} WHERE job_id LIKE '%{first}'".encode())
        await connection.execute("SELECT pg_stat_force_next_flush()")
    ((updated, heap_only),) = await rows(
        database, "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'custom_task_queue'"
    )
    assert updated == 1000
    assert heap_only >= 950
