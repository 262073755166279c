"""Each cost is measured for work of a known size."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import sql
from temporalio.client import Client

from delegator.dev.temporal import TemporalServer
from loadtest.meters.cost_meter import CostMeter, CostSources
from loadtest.meters.process_trees import ProcessMeter
from loadtest.meters.wal import WalMeter
from tests.support import Database

MIB = 1 << 20
BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"


@asynccontextmanager
async def program(code: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run Python code in a process of its own, which ends when its input ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def word(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return await process.stdout.readline()


async def table(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("CREATE TABLE cost (id int PRIMARY KEY, payload bytea)")


async def work(connection: psycopg.AsyncConnection) -> None:
    """Insert 1,000 rows of 100 bytes in 10 transactions, update 300 in one, delete 200 in one, and read in between."""
    for number in range(10):
        await connection.execute(
            "INSERT INTO cost SELECT id, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(%s::int, %s) AS id",
            (number * 100, number * 100 + 99),
        )
        await connection.execute("SELECT count(*) FROM cost")
    await connection.execute("UPDATE cost SET payload = 'y' WHERE id < 300")
    await connection.execute("DELETE FROM cost WHERE id >= 800")


@pytest.mark.parametrize("mode", ["on", "off"])
async def test_what_postgresql_wrote(database: Database, mode: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute(sql.SQL("SET synchronous_commit = {}").format(sql.Literal(mode)))
        await table(connection)
        await work(connection)
        await connection.execute("TRUNCATE cost")
        async with WalMeter(database.url) as meter:
            await meter.begin()
            await work(connection)
            await meter.end()
            await connection.execute("UPDATE cost SET payload = 'after the window'")
            written = await meter.written()
        assert written is not None
        # The server's own work (autovacuum, checkpoints) adds little.
        assert written.commits is not None
        assert 12 <= written.commits <= 16
        assert written.dead_tuples is not None
        assert 500 <= written.dead_tuples <= 520
        assert 100_000 < written.wal_bytes < 2_000_000
        extensions = await connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_walinspect'")
        assert await extensions.fetchone() is None


async def test_user_without_rights(database: Database) -> None:
    """A user without the right to read the log gets the number of its bytes."""
    role = f"cost_{uuid.uuid4().hex[:8]}"
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(sql.Identifier(role)))
        try:
            await table(connection)
            url = psycopg.conninfo.make_conninfo(database.url, user=role, password="secret")
            async with CostMeter(CostSources(database_url=url)) as meter:
                await work(connection)
        finally:
            await connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert meter.costs.wal_bytes is not None
    assert meter.costs.wal_bytes > 100_000
    assert (meter.costs.commits, meter.costs.dead_tuples) == (None, None)


async def test_temporals_persistence_operations(temporal: TemporalServer, temporal_client: Client) -> None:
    ids = [f"cost-{uuid.uuid4()}" for _ in range(10)]
    async with CostMeter(CostSources(temporal_metrics_url=temporal.metrics_url)) as meter:
        for workflow_id in ids:
            await temporal_client.start_workflow("nobody", id=workflow_id, task_queue=ids[0])
    for workflow_id in ids:
        await temporal_client.get_workflow_handle(workflow_id).terminate()
    costs = meter.costs
    assert costs.persistence_by_operation["CreateWorkflowExecution"] == 10
    assert costs.persistence_operations == sum(costs.persistence_by_operation.values())
    assert costs.persistence_operations >= 10


async def test_sources_that_are_not_there() -> None:
    sources = CostSources(
        temporal_metrics_url="http://127.0.0.1:1/metrics", database_url="postgresql://nobody@127.0.0.1:1/nothing"
    )
    async with CostMeter(sources) as meter:
        pass
    costs = meter.costs
    assert (costs.persistence_operations, costs.wal_bytes, costs.commits, costs.dead_tuples) == (None,) * 4
    assert (costs.persistence_by_operation, costs.processes) == ({}, {})


async def test_processor_time() -> None:
    """The processor time of ended child processes counts, that before the window does not."""
    # 0.2 s before the window; within it 0.3 s of its own, and 0.3 s in a child that ends before the next look.
    code = f"""
import subprocess, sys
{BURN.format(seconds=0.2)}
print("ready", flush=True)
sys.stdin.readline()
{BURN.format(seconds=0.3)}
subprocess.run([sys.executable, "-c", {BURN.format(seconds=0.3)!r}], check=True)
print("done", flush=True)
sys.stdin.read()
"""
    async with program(code) as process:
        await word(process)
        async with CostMeter(CostSources(processes={"burner": process.pid})) as meter:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            await word(process)
    assert 0.58 <= meter.costs.processes["burner"].cpu_s < 1.0


async def test_shared_memory() -> None:
    """Memory that processes share counts once."""
    # Three processes share 64 MiB and touch all of it. The first one also takes 32 MiB and frees them before the end.
    code = f"""
import mmap, os, signal, sys
def touch(pages):
    for at in range(0, len(pages), 4096):
        pages[at] = 1
shared = mmap.mmap(-1, {64 * MIB})
touch(shared)
children = []
for _ in range(2):
    pid = os.fork()
    if not pid:
        touch(shared)
        signal.pause()
    children.append(pid)
print("ready", flush=True)
sys.stdin.readline()
own = mmap.mmap(-1, {32 * MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
touch(own)
print("touched", flush=True)
sys.stdin.readline()
own.close()
print("closed", flush=True)
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""
    async with program(code) as process:
        await word(process)
        meter = ProcessMeter({"sharer": process.pid})
        meter.begin()
        before = meter.costs()["sharer"].peak_rss_bytes
        assert process.stdin is not None
        process.stdin.write(b"allocate\n")
        await word(process)
        meter.sample()
        during = meter.costs()["sharer"].peak_rss_bytes
        process.stdin.write(b"release\n")
        await word(process)
        meter.sample()
        assert meter.costs()["sharer"].peak_rss_bytes == during
    assert 64 * MIB < before < 128 * MIB
    assert 31 * MIB < during - before < 40 * MIB


async def test_named_child() -> None:
    """A process that is watched itself is not part of its parent."""
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {(BURN.format(seconds=0.3) + "input()")!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
child.communicate()
"""
    async with program(code) as process:
        pid = int(await word(process))
        async with CostMeter(CostSources(processes={"parent": process.pid, "child": pid})) as meter:
            await asyncio.sleep(0.8)
    assert meter.costs.processes["parent"].cpu_s < 0.1
    assert meter.costs.processes["child"].cpu_s > 0.1


async def test_ended_processes() -> None:
    """A process that ended before the window is left out; one that ends within it is kept."""
    code = BURN.format(seconds=0.2) + "print('done', flush=True)\ninput()"
    async with (
        program(code) as process,
        CostMeter(CostSources(processes={"gone": 2**22 - 1, "ends": process.pid})) as meter,
    ):
        await word(process)
        await asyncio.sleep(0.7)
        process.kill()
        await process.wait()
    assert set(meter.costs.processes) == {"ends"}
    assert meter.costs.processes["ends"].cpu_s > 0.15


async def test_failed_window() -> None:
    """A window that ended with an exception has no costs."""
    meter = CostMeter(CostSources())
    with pytest.raises(KeyError):
        async with meter:
            raise KeyError
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = meter.costs
