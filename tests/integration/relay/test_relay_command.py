"""`delegator relay`: what it says when it can't run, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

import pytest

from tests.conftest import MakeDatabase
from tests.support import Database

from .client import execute


@pytest.fixture
def free_url() -> str:
    """The URL of a PostgreSQL that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"postgresql://postgres@127.0.0.1:{free.getsockname()[1]}/x"


async def run(*arguments: str, **environment: str) -> tuple[int, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DELEGATOR_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "delegator", "relay", "--port", "0", *arguments, env=clean | environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, errors.decode()


def refused(result: tuple[int, str], *texts: str) -> None:
    code, errors = result
    assert code == 2, errors
    assert "Traceback" not in errors
    for text in texts:
        assert text in errors.strip().splitlines()[-1]


async def test_a_missing_table_names_the_fix(make_database: MakeDatabase) -> None:
    database = await make_database(migrated=False)
    refused(await run(DELEGATOR_DATABASE_URL=database.url), "delegator migrate")


async def test_what_ps_shows(database: Database) -> None:
    """A password on the command line, and a port that is open to the network without a token, are refused."""
    for url in (database.url, "host=127.0.0.1 password=x"):
        refused(await run("--database-url", url), "--database-url holds a password", "DELEGATOR_DATABASE_URL")
    open_relay = await run("--host", "0.0.0.0", DELEGATOR_DATABASE_URL=database.url)
    refused(open_relay, "without a token", "DELEGATOR_STREAM_TOKEN or --token-file")


async def test_undeclared_queue(database: Database) -> None:
    """A queue without a table ends the relay with a line that names the fix."""
    result = await run("--queue", "nope", DELEGATOR_DATABASE_URL=database.url)
    refused(result, "custom_task_queue_nope", "delegator migrate")


async def test_unpublished_table(database: Database) -> None:
    """A table outside of the publication ends the relay with a line that names the fix."""
    await execute(database, "ALTER PUBLICATION delegator_publication DROP TABLE custom_task_queue")
    refused(await run(DELEGATOR_DATABASE_URL=database.url), "not in publication", "delegator migrate")


async def test_publication_without_inserts(database: Database) -> None:
    """A publication without inserts ends the relay with a line that names the fix."""
    await execute(database, "ALTER PUBLICATION delegator_publication SET (publish = 'delete')")
    refused(await run(DELEGATOR_DATABASE_URL=database.url), "does not publish inserts", "delegator migrate")


async def test_published_payloads(database: Database) -> None:
    """A publication of payloads ends the relay with a line that names the fix."""
    await execute(database, "ALTER PUBLICATION delegator_publication SET TABLE custom_task_queue")
    refused(await run(DELEGATOR_DATABASE_URL=database.url), "does not publish just", "delegator migrate")


async def test_a_missing_publication_names_the_fix(database: Database) -> None:
    refused(
        await run(DELEGATOR_DATABASE_URL=database.url, DELEGATOR_PUBLICATION="nope"),
        "publication nope does not exist", "delegator migrate",
    )  # fmt: skip


async def test_a_slot_of_another_plugin_is_refused(database: Database) -> None:
    await execute(database, "SELECT pg_create_physical_replication_slot(%s)", database.settings.slot + "_x")
    try:
        result = await run(DELEGATOR_DATABASE_URL=database.url, DELEGATOR_SLOT=database.settings.slot + "_x")
        refused(result, "DELEGATOR_SLOT")
    finally:
        await execute(database, "SELECT pg_drop_replication_slot(%s)", database.settings.slot + "_x")


async def test_bad_names_and_addresses_are_refused(database: Database) -> None:
    url = {"DELEGATOR_DATABASE_URL": database.url}
    result = await run(**url, DELEGATOR_SLOT="Bad Name")
    refused(result, "DELEGATOR_SLOT")
    assert "relay_listening" not in result[1]
    refused(await run("--queue", "Bad Name", **url), "DELEGATOR_QUEUES")
    refused(await run("--host", "192.0.2.1", **url), "--host")
    refused(await run("--port", "70000", **url), "--port")
    refused(await run("--database-url", "nonsense=1"), "DELEGATOR_DATABASE_URL")


async def test_a_port_in_use_is_refused(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(await run("--port", port, DELEGATOR_DATABASE_URL=database.url), port, "--port")


async def test_wrong_login(database: Database, postgres: Any) -> None:
    """A wrong password or database ends the relay with a line that names the setting, without the password."""
    soon = {"DELEGATOR_START_TIMEOUT": "PT0.5S"}
    missing = postgres.url("no_such_database")
    refused(await run(DELEGATOR_DATABASE_URL=missing, **soon), "can't connect", "DELEGATOR_DATABASE_URL")
    scheme, _, rest = database.url.partition("://")
    wrong = f"{scheme}://postgres:wrong@{rest.partition('@')[2]}"
    code, errors = await run(DELEGATOR_DATABASE_URL=wrong, **soon)
    refused((code, errors), "can't connect", "DELEGATOR_DATABASE_URL")
    assert "wrong@" not in errors


async def test_role_without_replication(database: Database) -> None:
    """A role without the attribute REPLICATION ends the relay before it listens, with a line that names it."""
    role = f"plain_{database.name}"
    await execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        scheme, _, rest = database.url.partition("://")
        result = await run(DELEGATOR_DATABASE_URL=f"{scheme}://{role}:x@{rest.partition('@')[2]}")
        refused(result, "REPLICATION")
        assert "relay_listening" not in result[1]
    finally:
        await execute(database, f"DROP ROLE {role}")


async def test_a_server_that_stays_away(free_url: str) -> None:
    """After `DELEGATOR_START_TIMEOUT` the relay gives up, with the text of every process."""
    refused(
        await run(DELEGATOR_DATABASE_URL=free_url, DELEGATOR_START_TIMEOUT="PT0.5S"),
        "can't connect to PostgreSQL (DELEGATOR_DATABASE_URL)",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_waits(free_url: str, number: signal.Signals) -> None:
    """The relay waits for PostgreSQL, and stops at a signal meanwhile; its log lines are JSON when asked for."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "delegator", "relay", "--port", "0", "--log-format", "json",
        "--database-url", free_url, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        errors = b""
        async with asyncio.timeout(60):
            while b"connection_failed" not in errors:
                errors += await process.stderr.readline()
        process.send_signal(number)
        async with asyncio.timeout(60):
            errors += (await process.communicate())[1]
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert events.count("connection_failed") == 1
    assert (events[0], events[-1]) == ("relay_listening", "relay_stopped")
