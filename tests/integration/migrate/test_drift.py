"""Every kind of drift is found, and the SQL of its fix repairs it."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import psycopg
import pytest

from delegator.config import Settings
from delegator.dev.directory import StackDirectory
from delegator.dev.postgres import Postgres
from delegator.errors import SchemaError
from delegator.migrate import Finding, inspect, migrate
from delegator.migrate.drift.stream import check_server
from tests.conftest import MakeDatabase
from tests.support import Database

SQL = re.compile(r"(ALTER (TABLE|PUBLICATION|ROLE)|GRANT|REVOKE|CREATE (UNIQUE )?INDEX|DROP INDEX|REINDEX|SELECT)\b")

CASES = [
    ("column", "ALTER TABLE custom_task_queue DROP COLUMN waiter_id", "table custom_task_queue lacks column waiter_id"),
    ("column", "ALTER TABLE custom_task_lease ALTER role TYPE varchar(9)", "role is character varying(9) NOT NULL in"),
    ("column", "ALTER TABLE custom_task_queue ALTER attempt DROP DEFAULT", "attempt is integer NOT NULL instead of"),
    ("column", "ALTER TABLE custom_task_queue ALTER job_type DROP NOT NULL", "job_type is text instead of text NOT"),
    (
        "column",
        "ALTER TABLE custom_task_dead_letter ALTER dead_letter_id DROP IDENTITY",
        "instead of bigint NOT N",
    ),
    ("index", "DROP INDEX custom_task_queue_retry_at", "lacks its index on retry_at"),
    ("index", "DROP INDEX custom_task_dead_letter_job_id", "lacks its index on job_id"),
    ("index", "ALTER TABLE custom_task_queue DROP CONSTRAINT custom_task_queue_pkey", "lacks its index on job_id"),
    (
        "index",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'custom_task_queue_deadline'::regclass",
        "custom_task_queue_deadline is not valid",
    ),
    ("constraint", "ALTER TABLE custom_task_lease DROP CONSTRAINT custom_task_lease_role", "lacks the constraint cus"),
    ("storage", "ALTER TABLE custom_task_queue SET (fillfactor = 90)", "other storage settings: fillfactor (90)"),
    ("storage", "ALTER TABLE custom_task_lease RESET (fillfactor)", "custom_task_lease has other storage settings: f"),
    ("replica identity", "ALTER TABLE custom_task_queue REPLICA IDENTITY FULL", "replica identity (relreplident f)"),
    ("publication", "ALTER PUBLICATION delegator_publication SET (publish = 'insert, update')", "publishes insert, u"),
    ("publication", "ALTER PUBLICATION delegator_publication DROP TABLE custom_task_queue", "lacks custom_task_queue"),
    ("publication", "ALTER PUBLICATION delegator_publication ADD TABLE custom_task_lease", "custom_task_lease, undec"),
    ("grant", "REVOKE UPDATE, DELETE ON custom_task_queue FROM delegator_app", "lacks UPDATE, DELETE on custom_task_"),
    (
        "publication",
        "ALTER PUBLICATION delegator_publication SET TABLE custom_task_queue",
        "delegator_publication publishes every column of custom_task_queue instead of job_id, fencing_token",
    ),
    (
        "publication",
        "ALTER PUBLICATION delegator_publication SET TABLE custom_task_queue (job_id, job_type)",
        "delegator_publication publishes job_id, job_type of custom_task_queue instead of job_id, fencing_token",
    ),
    (
        "publication",
        "ALTER PUBLICATION delegator_publication"
        " SET TABLE custom_task_queue (job_id, fencing_token) WHERE (attempt = 0)",
        "delegator_publication filters rows of custom_task_queue",
    ),
    (
        "grant",
        "GRANT INSERT ON custom_task_queue TO delegator_stream",
        "delegator_stream has INSERT on custom_",
    ),
    ("grant", "REVOKE USAGE ON SCHEMA public FROM delegator_app, PUBLIC", "delegator_app may not use schema public"),
]


async def execute(database: Database, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute(statement.encode())


@pytest.mark.parametrize(("subject", "damage", "problem"), CASES)
async def test_drift(database: Database, subject: str, damage: str, problem: str) -> None:
    """Each kind of drift is found, and the SQL of its fix repairs it."""
    assert (await inspect(database.settings)).up_to_date
    await execute(database, damage)

    (finding,) = (await inspect(database.settings)).errors
    assert finding.subject == subject
    assert problem in finding.problem
    assert "\n" not in str(finding)

    assert SQL.match(finding.fix), finding.fix
    await execute(database, finding.fix)
    assert (await inspect(database.settings)).up_to_date


async def test_functions(database: Database) -> None:
    """Functions that were changed, dropped or added are named; the command of the fix installs the declared ones."""
    await execute(
        database,
        """
        CREATE OR REPLACE FUNCTION delegator_varint(number integer) RETURNS bytea
            LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = public, pg_temp AS 'SELECT NULL::bytea';
        ALTER FUNCTION delegator_payloads(jsonb) STABLE SECURITY DEFINER;
        ALTER FUNCTION delegator_cancel_workflow(text, text, text) RESET search_path;
        DROP FUNCTION delegator_signal_workflow(text, text, jsonb, text, text);
        DROP FUNCTION delegator_enqueue(text, jsonb, text, text, interval);
        CREATE FUNCTION delegator_enqueue(kind text, args jsonb, job_id text, queue text, delay interval)
            RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE FUNCTION delegator_start_workflow(workflow_type text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE FUNCTION "delegator_Mine"() RETURNS boolean LANGUAGE sql AS 'SELECT true'""",
    )

    found = {
        finding.problem.removeprefix("function "): finding for finding in (await inspect(database.settings)).findings
    }

    enqueue = "delegator_enqueue(text, jsonb, text, text, interval)"
    assert {problem: finding.is_error for problem, finding in found.items()} == {
        "delegator_varint(integer) is not as declared: other body": True,
        "delegator_payloads(jsonb) is not as declared: other volatility, security": True,
        "delegator_cancel_workflow(text, text, text) is not as declared: other settings": True,
        "delegator_signal_workflow(text, text, jsonb, text, text) is missing": True,
        f"{enqueue} is not as declared: other arguments, language, body, settings": True,
        "delegator_start_workflow(text) is not declared, and delegator_start_workflow is a function of ours": True,
        "delegator_Mine() is not declared": False,
    }
    with pytest.raises(SchemaError, match=r"differs from the declarations in 6 points:\n  function delegator_"):
        await migrate(database.settings)
    assert all("\n" not in str(finding) for finding in found.values())
    install = found["delegator_varint(integer) is not as declared: other body"].fix
    module, _, psql = install.partition(" | ")
    assert (module, psql) == (
        "python -m delegator_schema.ddl functions",
        'psql -v ON_ERROR_STOP=1 "$DELEGATOR_DATABASE_URL"',
    )
    for finding in found.values():
        if finding.fix.startswith("DROP"):
            await execute(database, finding.fix.partition("; then ")[0])
    program = await asyncio.create_subprocess_exec(sys.executable, *module.split()[1:], stdout=asyncio.subprocess.PIPE)
    printed, _ = await program.communicate()
    await execute(database, printed.decode())
    assert (await inspect(database.settings)).findings == ()


async def test_functions_in_a_schema(make_database: MakeDatabase) -> None:
    """The command of the fix names the configured schema."""
    database = await make_database()
    settings = Settings.load(database_url=database.url, schema_name="of_team")
    await migrate(settings)
    await execute(database, "DROP FUNCTION of_team.delegator_varint(integer)")

    (finding,) = (await inspect(settings)).errors

    assert finding.problem == "function delegator_varint(integer) is missing"
    assert " | PGOPTIONS='-c search_path=of_team' psql " in finding.fix


async def test_migrate_reports_it(database: Database) -> None:
    await execute(database, "ALTER TABLE custom_task_queue REPLICA IDENTITY NOTHING")
    with pytest.raises(SchemaError, match=r'^table custom_task_queue has .*: ALTER TABLE "custom_task_queue" REPLICA'):
        await migrate(database.settings)

    await execute(database, "ALTER TABLE custom_task_queue RESET (fillfactor)")
    with pytest.raises(SchemaError, match=r"differs from the declarations in 2 points:\n  table .*\n  table "):
        await migrate(database.settings)


async def test_additional_queue(make_database: MakeDatabase) -> None:
    """Drift of an additional queue is found, too."""
    database = await make_database(queues=("default", "video"))
    await execute(database, "ALTER TABLE custom_task_queue_video REPLICA IDENTITY FULL")
    await execute(database, "ALTER TABLE custom_task_queue_video ALTER attempt TYPE bigint")
    await execute(database, "REVOKE SELECT ON custom_task_queue_video FROM delegator_stream")

    findings = (await inspect(database.settings)).errors

    assert sorted(finding.subject for finding in findings) == ["column", "grant", "replica identity"]
    assert all("custom_task_queue_video" in finding.fix for finding in findings)


async def test_lost_queue(make_database: MakeDatabase) -> None:
    """A table of an additional queue that vanished is created again."""
    database = await make_database(queues=("default", "video"))
    await execute(database, "DROP TABLE custom_task_queue_video")

    assert (await inspect(database.settings)).created_queues == ("video",)
    assert (await migrate(database.settings)).created_queues == ("video",)


VIDEO = [
    ("DROP PUBLICATION delegator_publication_video", "publication delegator_publication_video is missing"),
    (
        "ALTER PUBLICATION delegator_publication_video DROP TABLE custom_task_queue_video",
        "publication delegator_publication_video lacks custom_task_queue_video",
    ),
    (
        "ALTER PUBLICATION delegator_publication_video ADD TABLE custom_task_queue",
        "publication delegator_publication_video has public.custom_task_queue, undeclared",
    ),
    (
        "ALTER PUBLICATION delegator_publication ADD TABLE custom_task_queue_video",
        "publication delegator_publication has public.custom_task_queue_video, undeclared",
    ),
    (
        "ALTER PUBLICATION delegator_publication_video SET (publish = 'insert, delete')",
        "publication delegator_publication_video publishes insert, delete instead of insert",
    ),
]


@pytest.mark.parametrize(("damage", "problem"), VIDEO)
async def test_publication_drift(make_database: MakeDatabase, damage: str, problem: str) -> None:
    """Drift of each queue's publication is found, and its fix repairs it."""
    database = await make_database(queues=("default", "video"))
    assert (await inspect(database.settings)).up_to_date
    await execute(database, damage)

    (finding,) = await errors(database)

    assert (finding.subject, finding.problem) == ("publication", problem)
    if SQL.match(finding.fix):
        await execute(database, finding.fix)
    else:
        assert finding.fix.endswith("DELEGATOR_PUBLICATION=delegator_publication DELEGATOR_QUEUES=default,video")
        await migrate(database.settings)
    assert (await inspect(database.settings)).up_to_date


async def test_foreign_publication(database: Database) -> None:
    """Another deployment's queue may have a publication of another name."""
    other = Settings.load(database_url=database.url, queues="video", publication="theirs")
    await migrate(other)

    assert (await inspect(database.settings)).up_to_date
    assert (await inspect(other)).up_to_date


async def test_a_publication_of_everything(database: Database) -> None:
    await execute(database, "DROP PUBLICATION delegator_publication")
    assert [f.problem for f in await errors(database)] == ["publication delegator_publication is missing"]
    await execute(database, "CREATE PUBLICATION delegator_publication FOR ALL TABLES WITH (publish = 'insert')")
    assert [f.problem for f in await errors(database)] == ["publication delegator_publication is FOR ALL TABLES"]
    with pytest.raises(SchemaError, match="is FOR ALL TABLES"):
        await migrate(database.settings)

    await execute(database, "DROP PUBLICATION delegator_publication")
    await migrate(database.settings)


async def test_a_publication_of_a_schema(database: Database) -> None:
    await execute(
        database,
        "DROP PUBLICATION delegator_publication;"
        " CREATE PUBLICATION delegator_publication FOR TABLES IN SCHEMA public WITH (publish = 'insert')",
    )
    (finding,) = await errors(database)
    assert finding.problem == "publication delegator_publication is FOR TABLES IN SCHEMA"
    with pytest.raises(SchemaError, match=finding.problem):
        await migrate(database.settings)


async def test_undeclared_index(database: Database) -> None:
    """An index that we did not declare is a note, not an error."""
    await execute(database, "CREATE INDEX mine ON custom_task_queue (lease_id)")

    report = await migrate(database.settings)

    (note,) = report.findings
    assert not note.is_error
    assert note.fix == "DROP INDEX CONCURRENTLY mine"


async def test_unused_slot(database: Database) -> None:
    """A slot that no process reads is a note, not an error."""
    slot = database.settings.slot
    await execute(database, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")

    (note,) = (await migrate(database.settings)).findings

    assert not note.is_error
    assert note.problem.startswith(f"slot {slot} has no consumer and keeps ")


async def test_missing_slot(database: Database) -> None:
    """A slot that is missing while jobs wait is a note with the statement that makes it."""
    assert (await migrate(database.settings)).findings == ()
    await execute(database, "INSERT INTO custom_task_queue (job_id, job_type, input) VALUES ('j', 't', '')")

    (note,) = (await migrate(database.settings)).findings

    assert not note.is_error
    assert "is missing while jobs wait in custom_task_queue" in note.problem
    await execute(database, note.fix.partition("Sequin: ")[2])
    (note,) = (await migrate(database.settings)).findings
    assert "has no consumer" in note.problem


async def test_a_slot_that_lost_its_wal() -> None:
    # Losing WAL takes a server whose other slots nobody needs.
    directory = StackDirectory.open(None, keep=False)
    server = Postgres(directory.path / "postgres", directory.log("postgres"), durable=False, preferred_port=None)
    await server.start()
    try:
        url = await server.ensure_database("lossy")
        settings = Settings.load(database_url=url)
        await migrate(settings)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for slot in (settings.slot, "of_someone_else"):
                await connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
            await connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
            await connection.execute("SELECT pg_reload_conf()")
            for _ in range(3):
                await connection.execute(
                    "INSERT INTO custom_task_lease (role, holder, expires_at) VALUES ('worker', '', now())"
                )
                await connection.execute("SELECT pg_switch_wal()")
            await connection.execute("CHECKPOINT")

            ours, other = sorted((await inspect(settings)).findings, key=lambda finding: not finding.is_error)
            assert (ours.is_error, other.is_error) == (True, False)
            assert ours.problem == f"slot {settings.slot} has lost its WAL"
            await connection.execute(ours.fix.partition(" and ")[0].encode())
        assert (await inspect(settings)).up_to_date
    finally:
        await server.stop()
        server.release()
        directory.close()


class Server:
    """Answers with settings of its own."""

    def __init__(self, **settings: str) -> None:
        sound = {"wal_level": "logical", "server_encoding": "UTF8"}
        self.settings = {**sound, "max_replication_slots": "10", "max_wal_senders": "10", **settings}

    async def execute(self, _: str) -> Server:
        return self

    async def fetchall(self) -> list[tuple[str, str]]:
        return list(self.settings.items())


async def test_wal_level() -> None:
    """A server that does not write logical WAL is an error, and its fix is an ALTER SYSTEM."""
    (finding,) = await check_server(cast(psycopg.AsyncConnection, Server(wal_level="replica")), 1)
    assert str(finding).startswith("wal_level is replica, so nothing can be streamed: ALTER SYSTEM SET wal_level")


@pytest.mark.parametrize("setting", ["max_replication_slots", "max_wal_senders"])
async def test_slot_limit(setting: str) -> None:
    """A server that permits fewer slots than there are queues is found."""
    server = cast(psycopg.AsyncConnection, Server(**{setting: "3"}))

    assert await check_server(server, 3) == []
    (finding,) = await check_server(server, 4)
    assert finding.problem == f"{setting} is 3, too few for 4 queues that need one each"
    assert finding.fix.startswith(f"ALTER SYSTEM SET {setting} = ")


async def errors(database: Database) -> tuple[Finding, ...]:
    return (await inspect(database.settings)).errors
