from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import psycopg
import pytest
from temporalio.client import Client

from delegator.dev import RunningStack
from delegator.errors import ConfigurationError
from loadtest.servers.guard import refuse_other_work
from loadtest.servers.stack import Servers


@pytest.fixture
def deployed(stack: RunningStack) -> Servers:
    return Servers(stack.environment, "deployed", database_url=stack.database_url)


@pytest.fixture
async def database(stack: RunningStack) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as connection:
        yield connection


async def open_workflows(client: Client) -> int:
    return (await client.count_workflows("ExecutionStatus = 'Running'")).count


async def test_a_quiet_deployment_is_taken(deployed: Servers) -> None:
    await refuse_other_work(deployed)


async def test_unfinished_jobs_are_other_work(deployed: Servers, database: psycopg.AsyncConnection) -> None:
    await database.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('other', 'other')")
    try:
        with pytest.raises(ConfigurationError, match=r"1 unfinished jobs in custom_task_queue\).*--shared"):
            await refuse_other_work(deployed, wait_seconds=0)
    finally:
        await database.execute("DELETE FROM custom_task_queue")


async def test_idle_worker(stack: RunningStack, database: psycopg.AsyncConnection) -> None:
    """`loadtest idle` starts a worker, which would take other programs' jobs: it refuses a queue that has some."""
    await database.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('other', 'other')")
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest", "idle", "--seconds", "1"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **stack.environment},
        )
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert "make dead letters of them" in errors.decode()
        assert await (await database.execute("SELECT count(*) FROM custom_task_queue")).fetchone() == (1,)
    finally:
        await database.execute("DELETE FROM custom_task_queue")


@pytest.mark.parametrize(("role", "queue"), [("worker", "default"), ("enqueuer", None)])
async def test_live_leases_are_other_work(
    deployed: Servers, database: psycopg.AsyncConnection, role: str, queue: str | None
) -> None:
    await database.execute(
        "INSERT INTO custom_task_lease (role, holder, queue, expires_at) VALUES (%s, '7@there', %s, now() + '1 hour')",
        (role, queue),
    )
    try:
        with pytest.raises(ConfigurationError, match=f"live leases of {role} 7@there"):
            await refuse_other_work(deployed, wait_seconds=0)
        # Arms that do not delegate have no database URL, so nobody asks about jobs.
        await refuse_other_work(Servers(deployed.environment, "deployed"))
    finally:
        await database.execute("DELETE FROM custom_task_lease WHERE holder = '7@there'")
    await refuse_other_work(deployed)


async def test_open_workflows_are_other_work(deployed: Servers, temporal_of_stack: Client) -> None:
    handle = await temporal_of_stack.start_workflow("Other", id="other", task_queue="other")
    try:
        async with asyncio.timeout(60):
            while not await open_workflows(temporal_of_stack):
                await asyncio.sleep(0.02)
        with pytest.raises(ConfigurationError, match="1 open workflows in namespace default"):
            await refuse_other_work(deployed, wait_seconds=0)
    finally:
        await handle.terminate()
    await refuse_other_work(deployed)


async def test_our_own_servers_are_not_asked(stack: RunningStack) -> None:
    await refuse_other_work(Servers({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "dev"))


@asynccontextmanager
async def busy_run(stack: RunningStack, database: psycopg.AsyncConnection) -> AsyncIterator[asyncio.subprocess.Process]:
    """A run in the middle of its long jobs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", "run", "--arm", "delegated", "--scenario", "sleep"),
        *("--workflows", "3", "--jobs", "5", "--sleep-ms", "30000"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **stack.environment},
    )
    try:
        async with asyncio.timeout(60):
            held = "SELECT count(*) FROM custom_task_queue WHERE lease_id IS NOT NULL"
            while await (await database.execute(held)).fetchone() != (15,):
                assert process.returncode is None
                await asyncio.sleep(0.1)
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def assert_clean(database: psycopg.AsyncConnection, client: Client, pids: list[int]) -> None:
    for table in ("custom_task_queue", "custom_task_dead_letter"):
        assert await (await database.execute(f"SELECT count(*) FROM {table}")).fetchone() == (0,)
    holders = [row[0] for row in await (await database.execute("SELECT holder FROM custom_task_lease")).fetchall()]
    assert not [holder for holder in holders if int(holder.partition("@")[0]) in pids]
    async with asyncio.timeout(60):  # until the list has caught up
        while await open_workflows(client):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(("how", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 10)])
async def test_an_interrupted_run_cleans_up(
    stack: RunningStack, database: psycopg.AsyncConnection, temporal_of_stack: Client, how: signal.Signals, times: int
) -> None:
    async with busy_run(stack, database) as process:
        pids = [child.pid for child in psutil.Process(process.pid).children()]
        ended = asyncio.ensure_future(process.communicate())
        for _ in range(times):
            if not ended.done():
                process.send_signal(how)
                await asyncio.sleep(0.02)
        _, errors = await ended
    assert (process.returncode, errors.decode()) == (130, "")
    await assert_clean(database, temporal_of_stack, pids)


async def test_a_failed_run_cleans_up(
    stack: RunningStack, database: psycopg.AsyncConnection, temporal_of_stack: Client
) -> None:
    async with busy_run(stack, database) as process:
        children = psutil.Process(process.pid).children()
        worker = next(child for child in children if "http_workers" in child.cmdline())
        worker.kill()
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert "the HTTP worker ended (exit code -9)" in errors.decode()
    assert errors.decode().count("\n") == 1
    await assert_clean(database, temporal_of_stack, [child.pid for child in children])
