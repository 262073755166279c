"""Several schemas of one database, and an application that uses Atlas in the same database."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import psycopg
import pytest
from delegator_schema.roles import WORKER
from psycopg import sql
from pydantic import SecretStr

from delegator.config import Settings
from delegator.errors import SchemaError
from delegator.migrate import inspect, migrate
from delegator.operating.doctor import DoctorOptions, Status, examine
from delegator.outbox import Outbox
from delegator.postgres import leader_lock
from delegator.postgres.connections import DatabaseAddress, connect
from delegator.postgres.schema_check import check
from delegator.relay import running_relay
from delegator.relay.message import answer
from delegator.relay.options import RelayOptions
from tests.conftest import MakeDatabase
from tests.integration.postgres import database as steps
from tests.support import Database

FOREIGN = "20990101000000"
_SHARED = "atlas_schema_revisions.atlas_schema_revisions"


async def test_two_deployments(make_database: MakeDatabase) -> None:
    """Each has its tables, publication, revisions, leader and stream, in either order of migration."""
    database = await make_database(migrated=False)
    public = database.settings
    jobs = Settings.load(database_url=database.url, schema_name="jobs", queues="default,video")
    assert (jobs.publication, jobs.slot) == ("jobs_publication", "jobs_slot")
    jobs = jobs.model_copy(update={"slot": f"{public.slot}_jobs"})
    for settings in (jobs, public):
        assert (await migrate(settings)).applied
    for settings in (public, jobs):
        report = await inspect(settings)
        assert (report.up_to_date, report.findings) == (True, ())
        await check(settings)
    async with (
        await connect(DatabaseAddress.of(public), application_name="test") as ours,
        await connect(DatabaseAddress.of(jobs), application_name="test") as theirs,
        await connect(DatabaseAddress.of(jobs), application_name="test") as late,
    ):
        assert [await leader_lock.try_lock(connection) for connection in (ours, theirs, late)] == [True, True, False]
        assert await leader_lock.stranger(late) is not None  # the test is no maintenance process
        async with (
            running_relay(RelayOptions.from_settings(public, port=0)) as first,
            running_relay(RelayOptions.from_settings(jobs, port=0)) as second,
        ):
            await steps.insert(ours, ["a"], None)
            await steps.insert(theirs, ["b"], None)
            for handle, job in ((first, "a"), (second, "b")):
                batch = await handle.relay.streams["custom_task_queue"].receive(10, 30.0)
                (message,) = json.loads(answer(batch))["data"]
                assert message["data"]["record"]["job_id"] == job
        rows = await (await ours.execute("SELECT job_id FROM public.custom_task_queue")).fetchall()
        assert rows == [("a",)]


@contextlib.asynccontextmanager
async def owner(database: Database, grant: str) -> AsyncIterator[str]:
    """Lend the URL of a role that is no superuser and has what `grant` gives to {0}."""
    role = f"owner_{database.name}"
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        name = sql.Identifier(role)
        await connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(name))
        await connection.execute(sql.SQL(grant).format(name, sql.Identifier(database.name)))
        try:
            parts = urlsplit(database.url)
            yield parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}").geturl()
        finally:
            await connection.execute(sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(name))


async def test_missing_schema(make_database: MakeDatabase) -> None:
    """Before its first migration into a schema, a database is inspected like any other."""
    database = await make_database(migrated=False)
    report = await inspect(Settings.load(database_url=database.url, schema_name="jobs"))
    assert report.applied
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        assert await (await connection.execute("SELECT to_regnamespace('jobs')")).fetchone() == (None,)


async def test_schema_of_others(make_database: MakeDatabase) -> None:
    """An owner who may not make tables in the schema `public` is told so, and nothing has been made."""
    database = await make_database(migrated=False)
    async with owner(database, "GRANT CREATE ON DATABASE {1} TO {0}") as url:
        with pytest.raises(
            SchemaError, match=r'run GRANT CREATE ON SCHEMA "public" TO "owner_\w+" as its owner, or set '
        ):
            await migrate(Settings.load(database_url=url))
        async with await psycopg.AsyncConnection.connect(url) as connection:
            made = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'delegator%'"
            assert await (await connection.execute(made)).fetchall() == []


async def test_stranger(make_database: MakeDatabase) -> None:
    """A role without a group is told of the group, whether or not the tables are in a schema of their own."""
    database = await make_database()
    own = Settings.load(database_url=database.url, schema_name="jobs")
    await migrate(own)
    async with owner(database, "REVOKE ALL ON SCHEMA public FROM {0}") as url:
        for settings in (database.settings, own):
            stranger = settings.model_copy(update={"database_url": SecretStr(url)})
            with pytest.raises(SchemaError, match=r': GRANT "delegator_worker" TO "owner_'):
                await check(stranger, process=WORKER)
            found = [one async for one in examine(lambda it=stranger: it, DoctorOptions(canary=False))]
            failures = [one for one in found if one.status is Status.FAILED and "slot" not in one.link]
            assert [one.link for one in failures if one.link in ("privileges", "table", "migrations")] == ["privileges"]


async def test_outbox(make_database: MakeDatabase) -> None:
    """An application's outbox writes into the schema that its settings name."""
    database = await make_database()
    own = Settings.load(database_url=database.url, schema_name="jobs")
    await migrate(own)
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        for settings, id in ((database.settings, "ours"), (own, "theirs")):
            await Outbox(settings).aio.cancel_workflow(connection, id)
        for schema, id in (("public", "ours"), ("jobs", "theirs")):
            rows = sql.SQL("SELECT workflow_id FROM {}.custom_task_outbox").format(sql.Identifier(schema))
            assert await (await connection.execute(rows)).fetchall() == [(id,)]


async def test_atlas_of_an_application(make_database: MakeDatabase) -> None:
    """An application's revisions stay where they are. Ours that were once among them are taken along."""
    database = await make_database()
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("ALTER SCHEMA delegator_revisions RENAME TO atlas_schema_revisions")
        foreign = sql.SQL("INSERT INTO {} SELECT (jsonb_populate_record(r, {})).* FROM {} AS r LIMIT 1")
        shared = sql.SQL(_SHARED)
        await connection.execute(foreign.format(shared, sql.Literal(f'{{"version": "{FOREIGN}"}}'), shared))

        assert (await migrate(database.settings)).up_to_date

        count = sql.SQL("SELECT count(*) FILTER (WHERE version = {}), count(*) FROM {}")
        kept = await (await connection.execute(count.format(sql.Literal(FOREIGN), shared))).fetchone()
        ours = sql.SQL("delegator_revisions.atlas_schema_revisions")
        taken = await (await connection.execute(count.format(sql.Literal(FOREIGN), ours))).fetchone()
        assert kept is not None
        assert taken == (0, kept[1] - 1)

        # A second deployment begins with none of them.
        jobs = Settings.load(database_url=database.url, schema_name="jobs")
        assert len((await migrate(jobs)).applied) == kept[1] - 1
