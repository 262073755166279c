"""Every process works when its log-in role is a plain member of the role that the migrations made for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from delegator_schema.roles import APP, STREAM
from psycopg import sql
from pydantic import SecretStr
from temporalio.client import Client

from delegator import Settings
from delegator.dev.migrations import migrate_database
from delegator.dev.ports import reserve
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.postgres.lease_keeper import holder_name
from tests.integration.delegator import flows, tasks
from tests.integration.delegator.environment import PATIENT, ROOT, SIGNALLED, Environment, eventually
from tests.support import Databases

PASSWORD = "secret"


@dataclass(frozen=True)
class Accounts:
    """A migrated database, and log-in roles that are members of nothing but one of its roles."""

    app_url: str
    """For the processes that enqueue, run and sweep."""
    stream_url: str
    """For the relay."""


@pytest.fixture(params=["embedded", pytest.param("15", marks=pytest.mark.atlas)])
async def accounts(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[Accounts]:
    """On the embedded PostgreSQL 18 and on Debian's 15."""
    if request.param == "15":
        url = request.getfixturevalue("postgres15").database()
        await migrate_database(url, ("default",))
        async with logins(url) as made:
            yield made
    else:
        async with databases.fresh() as database, logins(database.url) as made:
            yield made


@contextlib.asynccontextmanager
async def logins(url: str) -> AsyncIterator[Accounts]:
    name = urlsplit(url).path[1:]
    app, stream = f"app_{name}", f"stream_{name}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for role, attribute, group in ((app, "", APP), (stream, "REPLICATION", STREAM)):
            statement = "CREATE ROLE {} LOGIN {} PASSWORD {} IN ROLE {}"
            await connection.execute(
                sql.SQL(statement).format(
                    sql.Identifier(role), sql.SQL(attribute), sql.Literal(PASSWORD), sql.Identifier(group.name)
                )
            )
        try:
            yield Accounts(login(url, app), login(url, stream))
        finally:
            for role in (app, stream):
                await connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


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


async def test_roles(accounts: Accounts, temporal: TemporalServer, temporal_client: Client):
    """The relay, `delegator serve`, an HTTP worker and a Temporal worker run a workflow, inline and by signal."""
    with tempfile.TemporaryDirectory(prefix="delegator-test-") as name:
        directory = Path(name)
        port = reserve()
        relay_url = f"http://127.0.0.1:{port.number}"
        settings = Settings.load(database_url=SecretStr(accounts.app_url), stream_url=relay_url)
        variables = {
            **os.environ,
            "DELEGATOR_DATABASE_URL": accounts.app_url,
            "DELEGATOR_STREAM_URL": relay_url,
            "DELEGATOR_SLOT": f"slot_{urlsplit(accounts.app_url).path[1:]}",
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            tasks.DIRECTORY_VARIABLE: name,
        }
        client = await Client.connect(temporal.address, namespace=NAMESPACE, identity=f"test {holder_name()}")
        engine = Environment(client, settings, directory, variables)
        as_stream = {**variables, "DELEGATOR_DATABASE_URL": accounts.stream_url}
        port.release()
        relay = ("relay", "--port", str(port.number))
        async with (
            process(*relay, log=directory / "relay.log", environment=as_stream),
            process("serve", log=directory / "serve.log", started="leader_elected", environment=variables),
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
