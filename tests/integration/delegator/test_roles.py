"""Every process works when its log-in role is a plain member of the role that the migrations made for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from delegator_schema.ddl import STATE_TABLES
from delegator_schema.queues import BASE_TABLE
from delegator_schema.roles import ROLES, Role
from psycopg import sql
from pydantic import SecretStr
from temporalio.client import Client

from delegator import Settings
from delegator.dev.migrations import migrate_database
from delegator.dev.ports import reserve
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.migrate import inspect, migrate
from delegator.operating.doctor import DoctorOptions, Status, examine
from delegator.postgres.lease_keeper import holder_name
from tests.integration.delegator import flows, tasks
from tests.integration.delegator.environment import PATIENT, ROOT, SIGNALLED, Environment, eventually
from tests.support import Database, Databases
from tests.support.pages import blocks
from tests.support.pgbouncer import running_pgbouncer

PASSWORD = "secret"
LOGINS = ("owner", "enqueuer", "worker", "maintenance", "stream", "shop")
SCHEMA = "jobs"


@dataclass(frozen=True)
class Accounts:
    """A migrated database, and log-in roles that are members of nothing but one of its roles."""

    urls: Mapping[str, str]
    """For each process."""
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More variables for each process."""


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("15", marks=pytest.mark.atlas),
        pytest.param("pooled schema", marks=pytest.mark.pgbouncer),
    ]
)
async def accounts(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[Accounts]:
    """On the embedded PostgreSQL 18, on Debian's 15, and in a schema of its own through PgBouncer."""
    if request.param == "15":
        url = request.getfixturevalue("postgres15").database()
        await migrate_database(url, ("default",))
        async with logins(url) as urls:
            yield Accounts(urls)
    elif request.param == "embedded":
        async with databases.fresh() as database, logins(database.url) as urls:
            yield Accounts(urls)
    else:
        async with databases.fresh(migrated=False) as database, logins(database.url) as urls:
            users = {str(urlsplit(url).username): PASSWORD for url in urls.values()}
            with running_pgbouncer(database.url, users) as address:
                yield await in_own_schema(database, urls, address)


async def in_own_schema(database: Database, urls: Mapping[str, str], pooler: str) -> Accounts:
    """Migrate into a schema as its owner, and let all but the stream go through PgBouncer."""
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        for url in urls.values():
            # A role of the pooler's sessions, where the engine may not set it.
            alter = sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = {}")
            names = sql.Identifier(str(urlsplit(url).username)), sql.Identifier(database.name), sql.Identifier(SCHEMA)
            await connection.execute(alter.format(*names))
    pooled = {name: urlsplit(url)._replace(netloc=f"{urlsplit(url).username}:{PASSWORD}@{pooler}").geturl()
              for name, url in urls.items()}  # fmt: skip
    settings = Settings.load(database_url=pooled["owner"], direct_database_url=urls["owner"], schema_name=SCHEMA)
    assert (await migrate(settings)).errors == ()
    assert (await inspect(settings)).up_to_date
    variables = {name: {"DELEGATOR_DIRECT_DATABASE_URL": url, "DELEGATOR_SCHEMA": SCHEMA} for name, url in urls.items()}
    variables["worker"] = {"DELEGATOR_SCHEMA": SCHEMA}  # it needs no session of its own
    return Accounts(pooled, variables)


@contextlib.asynccontextmanager
async def logins(url: str) -> AsyncIterator[Mapping[str, str]]:
    """Run what the documentation gives an administrator to run, and lend the roles."""
    name = urlsplit(url).path[1:]
    (script,) = (block for block in blocks(ROOT / "docs/operating/roles.md") if block.title == "roles.sql")
    code = script.code.replace("orders_", f"{name}_").replace("'...'", f"'{PASSWORD}'")
    code = code.replace("ON DATABASE delegator ", f"ON DATABASE {name} ")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(code.encode())
        try:
            yield {role: login(url, f"{name}_{role}") for role in LOGINS}
        finally:
            for role in LOGINS:
                gone = "REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}"
                await connection.execute(sql.SQL(gone).format(sql.Identifier(f"{name}_{role}")))


def login(url: str, role: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{role}:{PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"


@contextlib.asynccontextmanager
async def process(*arguments: str, log: Path, environment: dict[str, str], started: str = "") -> AsyncIterator[None]:
    """Run one of the engine's programs; the block begins when it has logged that it started."""
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "delegator", *arguments, cwd=ROOT, env=environment, stdout=output, stderr=output
        )

    async def is_up() -> bool:
        assert child.returncode is None, log.read_text()
        return started in log.read_text()

    try:
        await eventually(is_up, within=60)
        yield
        assert child.returncode is None, log.read_text()
        child.send_signal(signal.SIGTERM)
        assert await child.wait() == 0, log.read_text()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_roles(
    accounts: Accounts, temporal: TemporalServer, temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay, `delegator serve`, an HTTP worker and a Temporal worker run a workflow, inline and by signal."""
    with tempfile.TemporaryDirectory(prefix="delegator-test-") as name:
        directory = Path(name)
        port = reserve()
        relay_url = f"http://127.0.0.1:{port.number}"
        common = {
            **os.environ,
            "DELEGATOR_STREAM_URL": relay_url,
            "DELEGATOR_SLOT": f"slot_{urlsplit(accounts.urls['owner']).path[1:]}",
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            tasks.DIRECTORY_VARIABLE: name,
        }

        def variables(process: str) -> dict[str, str]:
            return {**common, "DELEGATOR_DATABASE_URL": accounts.urls[process], **accounts.variables.get(process, {})}

        mine = accounts.variables.get("enqueuer", {})
        settings = Settings.load(
            database_url=SecretStr(accounts.urls["enqueuer"]),
            direct_database_url=mine.get("DELEGATOR_DIRECT_DATABASE_URL"),
            schema_name=mine.get("DELEGATOR_SCHEMA"),
            stream_url=relay_url,
        )
        client = await Client.connect(temporal.address, namespace=NAMESPACE, identity=f"test {holder_name()}")
        engine = Environment(client, settings, directory, variables("worker"))
        port.release()
        relay = ("relay", "--port", str(port.number))
        async with (
            process(*relay, log=directory / "relay.log", environment=variables("stream")),
            process(
                "serve", log=directory / "serve.log", started="leader_elected", environment=variables("maintenance")
            ),
            engine.http_worker(),
            engine.worker(PATIENT) as inline,
            engine.worker(SIGNALLED) as signalled,
        ):
            for task_queue in (inline, signalled):
                assert await engine.execute(flows.Many, "delegate_map", 10, task_queue=task_queue)
            # The sweeper delivers it again.
            call = ["delegate", "succeed_at", [2], {}]
            assert await engine.execute(flows.CallsOne, *call, task_queue=inline) == 2
            await engine.nothing_left()
            for one in LOGINS if accounts.variables else LOGINS[1:]:  # else the administrator owns the tables
                with monkeypatch.context() as shell:
                    for variable, value in variables(one).items():
                        shell.setenv(variable, value)
                    await is_healthy(one)


async def is_healthy(of: str) -> None:
    """`delegator doctor` works with the role of each process, and leaves out what the role may not see."""
    options = DoctorOptions(
        canary=of in ("worker", "stream", "shop")
    )  # one of those who may send one, for the time it takes
    found = {one.link: one async for one in examine(Settings.load, options)}
    assert [one for one in found.values() if one.status is Status.FAILED] == []
    held_back = {link for link, one in found.items() if one.status is Status.SKIPPED}
    everything = {"migrations", "maintenance", "workers", "canary"}
    assert held_back == {"owner": set(), "stream": everything, "shop": everything}.get(of, {"migrations"})


ATTEMPTS = {
    "SELECT": "SELECT FROM {table} LIMIT 0",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = NULL WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table}",
}
NOBODY_MAY = (
    "CREATE TABLE {schema}.mine (id int)",
    "ALTER TABLE {schema}.custom_task_queue ADD COLUMN mine int",
    "DROP TABLE {schema}.custom_task_queue",
    "SELECT FROM delegator_revisions.atlas_schema_revisions",
    "CREATE PUBLICATION mine FOR TABLE custom_task_queue",
    "ALTER PUBLICATION delegator_publication SET (publish = 'delete')",
    "CREATE ROLE mine",
)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
async def test_denied(module_database: Database, role: Role) -> None:
    """A role may do what is declared, and each other statement on each table is refused."""
    async with await psycopg.AsyncConnection.connect(module_database.url, autocommit=True) as connection:
        await connection.execute(f"SET ROLE {role.name}".encode())

        async def is_denied(statement: str) -> bool:
            try:
                async with connection.transaction(force_rollback=True):
                    await connection.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                return True
            except psycopg.IntegrityError:  # the privileges were checked before
                return False
            return False

        for table in (BASE_TABLE, *STATE_TABLES):
            column = "lane" if table == BASE_TABLE else COLUMNS.get(table, "queue")
            for privilege, statement in ATTEMPTS.items():
                denied = await is_denied(statement.format(table=table, column=column))
                assert denied is (privilege not in role.privileges(table)), (table, privilege)
        for statement in NOBODY_MAY:
            assert await is_denied(statement.format(schema="public")), statement


COLUMNS = {"custom_task_rate": "next_start_at", "custom_task_outbox": "namespace", "custom_task_unique": "expires_at"}


def test_documented() -> None:
    """The administrator's script makes every role that a migration would make."""
    text = (ROOT / "docs/operating/roles.md").read_text()
    assert [role.name for role in ROLES if f"'{role.name}'" not in text] == []
