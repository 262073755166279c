"""A Temporal worker whose PostgreSQL is away, refuses it, or is not as declared: it says so, and never hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from temporalio import workflow
from temporalio.bridge.proto.activity_task import Cancel
from temporalio.client import Client
from temporalio.worker import Worker

from delegator import DelegatorPlugin, Settings
from delegator.dev.migrations import migrate_database
from delegator.dev.ports import reserve
from delegator.dev.postgres import Postgres
from delegator.errors import ConfigurationError, DelegatorError, DependencyError
from tests.conftest import MakeDatabase
from tests.integration.delegator import flows, queued_tasks
from tests.support import Database
from tests.support.forwarding import forward

LIMIT = 60.0
"""Seconds within which each of these tests must end: far more than it takes, far less than for ever."""
START_TIMEOUT = timedelta(seconds=0.5)
TOO_LONG = timedelta(seconds=600)

Start = Callable[[Worker], Awaitable[None]]
Fault = Callable[[Database, MakeDatabase], Awaitable[dict[str, Any]]]


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> str:
        return "done"


async def run(worker: Worker) -> None:
    await worker.run()


async def async_with(worker: Worker) -> None:
    async with worker:
        await asyncio.Event().wait()


async def in_a_fixture(worker: Worker) -> None:
    """As pytest-asyncio does: the task that enters the block ends before the block does."""
    await asyncio.create_task(worker.__aenter__())
    run_task = worker._async_context_run_task
    assert run_task is not None
    await asyncio.wait([run_task])
    await worker.__aexit__(None, None, None)
    error = worker._async_context_run_exception
    assert error is not None
    raise error


WAYS = (run, async_with, in_a_fixture)


async def server_down(database: Database, make: MakeDatabase) -> dict[str, Any]:
    port = reserve()
    port.release()
    return {"url": at(database.url, port=port.number)}


async def wrong_password(database: Database, make: MakeDatabase) -> dict[str, Any]:
    return {"url": database.url.replace(str(urlsplit(database.url).password), "wrong")}


async def wrong_database(database: Database, make: MakeDatabase) -> dict[str, Any]:
    return {"url": database.url.replace(f"/{database.name}", "/nowhere")}


async def not_migrated(database: Database, make: MakeDatabase) -> dict[str, Any]:
    return {"url": (await make(migrated=False)).url}


async def old_schema(database: Database, make: MakeDatabase) -> dict[str, Any]:
    await execute(database, "ALTER TABLE custom_task_queue DROP COLUMN heartbeat_details")
    return {"url": database.url}


async def no_rights(database: Database, make: MakeDatabase) -> dict[str, Any]:
    role = f"outsider_{database.name}"
    await execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    return {"url": at(database.url, user=role, password="secret")}


async def queue_not_declared(database: Database, make: MakeDatabase) -> dict[str, Any]:
    return {"url": database.url, "delegated": [queued_tasks]}


async def queue_not_migrated(database: Database, make: MakeDatabase) -> dict[str, Any]:
    return {"url": database.url, "queues": ("default", "other")}


FAULTS: tuple[tuple[Fault, type[DelegatorError], str], ...] = (
    (server_down, DependencyError, "can't connect to PostgreSQL (DELEGATOR_DATABASE_URL)"),
    (wrong_password, DependencyError, "can't connect to PostgreSQL (DELEGATOR_DATABASE_URL)"),
    (wrong_database, DependencyError, 'database "nowhere" does not exist'),
    (not_migrated, ConfigurationError, "run `delegator migrate` with DELEGATOR_QUEUES=default"),
    (old_schema, ConfigurationError, "table custom_task_queue lacks column heartbeat_details: run `delegator migrate`"),
    (
        no_rights,
        ConfigurationError,
        'may not SELECT in table custom_task_queue: GRANT "delegator_enqueuer" TO "outsider_',
    ),
    (
        queue_not_declared,
        ConfigurationError,
        "queue 'other' of type 'in_other_queue' is not declared: add it to DELEGAT",
    ),
    (queue_not_migrated, ConfigurationError, "table custom_task_queue_other is missing: run `delegator migrate` with"),
)


def at(url: str, **parts: object) -> str:
    """Return a PostgreSQL URL with other parts."""
    old = urlsplit(url)
    new = {"user": old.username, "password": old.password, "port": old.port, **parts}
    return f"postgresql://{new['user']}:{quote(str(new['password']))}@{old.hostname}:{new['port']}{old.path}"


async def execute(database: Database, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute(sql.SQL(statement))


def make_worker(
    client: Client,
    url: str,
    *,
    delegated: Any = (),
    task_queue: str | None = None,
    start_timeout: timedelta = START_TIMEOUT,
    **settings: Any,
) -> Worker:
    plugin = DelegatorPlugin(
        delegated, settings=Settings.load(database_url=SecretStr(url), start_timeout=start_timeout, **settings)
    )
    task_queue = task_queue or f"start-{uuid.uuid4()}"
    workflows = [Nothing, flows.Many]
    return Worker(client, task_queue=task_queue, workflows=workflows, plugins=[plugin])


@pytest.fixture
async def own_database(database: Database) -> AsyncIterator[Database]:
    """A database, whose role of an outsider goes with it."""
    yield database
    await execute(database, f"DROP ROLE IF EXISTS outsider_{database.name}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("fault", "error", "text"), FAULTS, ids=[fault.__name__ for fault, *_ in FAULTS])
async def test_fault(
    way: Start,
    fault: Fault,
    error: type[DelegatorError],
    text: str,
    own_database: Database,
    make_database: MakeDatabase,
    temporal_client: Client,
    caplog: pytest.LogCaptureFixture,
):
    """Each way to run a worker fails with one line that names the setting or the command; the log has it too."""
    worker = make_worker(temporal_client, **await fault(own_database, make_database))
    async with asyncio.timeout(LIMIT):
        with pytest.raises(error) as raised:
            await way(worker)
        await worker.shutdown()
    message = str(raised.value)
    assert text in message
    assert "\n" not in message
    logged = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "delegator.plugin"]
    waited = [(logging.WARNING, f"worker_waits: {message}")] if error is DependencyError else []
    assert logged == [*waited, (logging.ERROR, f"worker_start_failed: {message}")]


async def test_a_late_server(open_path: Any, temporal_client: Client, caplog: pytest.LogCaptureFixture):
    """PostgreSQL may start after the worker."""
    server = Postgres(open_path / "postgres", open_path / "log", durable=False, preferred_port=None)
    async with asyncio.timeout(LIMIT), contextlib.AsyncExitStack() as stack:
        stack.callback(server.release)
        stack.push_async_callback(server.stop)
        await server.start()
        url = await server.ensure_database()
        await migrate_database(url, ("default",))
        await server.stop_by("fast")
        async with make_worker(temporal_client, url, start_timeout=TOO_LONG) as worker:
            while "worker_waits" not in caplog.text:
                await asyncio.sleep(0.01)
            await server.start()
            await enqueues(temporal_client, url, worker.task_queue)


@pytest.mark.parametrize("broken", [1, 2, 3])
async def test_a_connection_that_breaks(broken: int, database: Database, temporal_client: Client):
    """Each of the connections that a worker needs to begin is tried again."""
    async with (
        asyncio.timeout(LIMIT),
        breaking(database.url, broken) as url,
        make_worker(temporal_client, url, start_timeout=TOO_LONG) as worker,
    ):
        await enqueues(temporal_client, database.url, worker.task_queue)


async def test_leaving_while_it_waits(database: Database, temporal_client: Client):
    """A block that ends while its worker waits for PostgreSQL ends at once, without an error."""
    url = (await server_down(database, None))["url"]  # type: ignore[arg-type]
    async with asyncio.timeout(LIMIT):
        async with make_worker(temporal_client, url, start_timeout=TOO_LONG):
            await asyncio.sleep(0.1)


async def test_cancelling_while_it_waits(database: Database, temporal_client: Client):
    """A run that is cancelled while it waits for PostgreSQL ends at once, and can be shut down."""
    url = (await server_down(database, None))["url"]  # type: ignore[arg-type]
    worker = make_worker(temporal_client, url, start_timeout=TOO_LONG)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(LIMIT):
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        await worker.shutdown()


async def test_a_late_cancellation(database: Database, temporal_client: Client):
    """Where warnings are errors, a worker outlives the SDK's warning about a local activity that has just ended."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.resetwarnings()
        warnings.simplefilter("error")
        async with asyncio.timeout(LIMIT), make_worker(temporal_client, database.url) as worker:
            await enqueues(temporal_client, database.url, worker.task_queue)
            assert worker._activity_worker is not None
            worker._activity_worker._handle_cancel_activity_task(b"ended", Cancel())
    assert [str(warning.message) for warning in heard] == ["Cannot find activity to cancel for token b'ended'"]


async def test_two_workers_with_one_plugin(database: Database, temporal_client: Client):
    """A plugin serves one worker of its client after another one has ended."""
    plugin = DelegatorPlugin(settings=database.settings)
    first, second = (
        Worker(temporal_client, task_queue=f"start-{uuid.uuid4()}", workflows=[flows.Many], plugins=[plugin])
        for _ in range(2)
    )
    async with asyncio.timeout(LIMIT), first:
        await enqueues(temporal_client, database.url, first.task_queue)
        async with second:
            await enqueues(temporal_client, database.url, second.task_queue)
        await enqueues(temporal_client, database.url, first.task_queue)


async def test_tasks_wait_for_another_worker(database: Database, temporal_client: Client):
    """A worker that can't start does no harm to what waits in its task queue."""
    task_queue = f"start-{uuid.uuid4()}"
    handle = await temporal_client.start_workflow(
        Nothing.run, id=f"start-{uuid.uuid4()}", task_queue=task_queue, execution_timeout=timedelta(seconds=LIMIT)
    )
    async with asyncio.timeout(LIMIT):
        url = (await wrong_password(database, None))["url"]  # type: ignore[arg-type]
        with pytest.raises(DependencyError):
            await make_worker(temporal_client, url, task_queue=task_queue).run()
        async with make_worker(temporal_client, database.url, task_queue=task_queue, start_timeout=TOO_LONG):
            assert await handle.result() == "done"


async def enqueues(client: Client, url: str, task_queue: str) -> None:
    """Make sure that a worker can enqueue."""
    handle = await client.start_workflow(
        flows.Many.run, args=["delegate", 3], id=f"start-{uuid.uuid4()}", task_queue=task_queue
    )
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        count = sql.SQL("SELECT count(*) FROM custom_task_queue WHERE workflow_id = %s")
        while await (await connection.execute(count, [handle.id])).fetchone() != (3,):
            await asyncio.sleep(0.01)
    await handle.terminate()


@contextlib.asynccontextmanager
async def breaking(url: str, number: int) -> AsyncIterator[str]:
    """A way to PostgreSQL on which the connection of that number breaks at once; the others work."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    accepted = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        if accepted == number:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(forward(reader, there_writer), forward(there_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield at(url, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
