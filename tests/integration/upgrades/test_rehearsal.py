"""The upgrade from the previous release, rehearsed: both releases side by side, under load, over a migration."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from temporalio.client import Client, WorkflowHandle

from delegator.dev.accounts import temporary_bases
from delegator.dev.postgres import Postgres
from delegator.dev.temporal import NAMESPACE, TemporalServer
from tests.conftest import MakeDatabase
from tests.integration.packaging.support import install
from tests.integration.upgrades.support import PREVIOUS, ROLES, TASK_QUEUE, THIS, Release, ReleaseProgram, source_of
from tests.support import Database

IN_FLIGHT = 4
"""Orders at a time."""
SHARING = ("http-worker", "worker")
"""The processes that work beside each other. Of the others one works, and the other stands by."""
BLOCKED_MS = 100 if os.environ.get("DELEGATOR_CHAOS") == "long" else 2_000
"""How long a statement may wait for a table's lock. A busy machine may suspend the process that holds it."""
_RESULT = list(range(14))


@pytest.fixture(scope="module")
def previous() -> Iterator[Release]:
    """The previous release, installed from its wheel."""
    with tempfile.TemporaryDirectory(prefix="delegator-test-", dir=temporary_bases()[0]) as directory:
        Path(directory).chmod(0o711)
        source = Path(directory, "source")
        source.mkdir()
        if not source_of(PREVIOUS, source):
            pytest.skip(f"this clone lacks {PREVIOUS}, the previous release (tests/integration/upgrades/previous.toml)")
        yield Release("N-1", install(Path(directory), extras=[], source=source).bin / "python")


@dataclass
class Load:
    """Orders that never stop, and one workflow that lives through everything."""

    client: Client
    name: str
    done: int = 0
    crossing: WorkflowHandle[object, object] | None = None
    asked: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    async def orders(self, customer: int) -> None:
        """Place one order after the other, and check each result."""
        for number in itertools.count():
            if self.ended:
                return
            order = f"{self.name}-{customer}-{number}"
            result = await self.client.execute_workflow(
                "Order",
                # The first customer's orders take longer than an enqueuer waits inline.
                10 if customer else 1_300,
                id=order,
                task_queue=TASK_QUEUE,
                execution_timeout=timedelta(seconds=90),
            )
            assert result == _RESULT, order
            self.done += 1
            self.moved.set()

    async def goes_on(self, orders: int = IN_FLIGHT + 1) -> None:
        """Wait until more orders have ended, begun while the processes were as they are; ask the crossing one, too."""
        if self.crossing is None:
            self.crossing = await self.client.start_workflow("Crossing", id=f"{self.name}-long", task_queue=TASK_QUEUE)
        await self.crossing.signal("one_more")
        self.asked += 1
        expected = self.done + orders
        async with asyncio.timeout(90):
            while self.done < expected:
                self.moved.clear()
                await self.moved.wait()


@asynccontextmanager
async def running(client: Client, name: str) -> AsyncIterator[Load]:
    load = Load(client, name)
    async with asyncio.TaskGroup() as group:
        for customer in range(IN_FLIGHT):
            group.create_task(load.orders(customer))
        yield load
        load.ended = True
    assert load.crossing is not None
    await load.crossing.signal("end")
    assert await load.crossing.result() == list(range(load.asked))


@pytest.fixture
async def empty(make_database: MakeDatabase) -> Database:
    """A database whose server logs each wait for a lock that is longer than allowed."""
    database = await make_database(migrated=False)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        for setting in ("log_lock_waits = on", f"deadlock_timeout = {BLOCKED_MS}"):
            await connection.execute(f'ALTER DATABASE "{database.name}" SET {setting}'.encode())
    return database


@pytest.mark.parametrize("order", [ROLES, ROLES[::-1]], ids=["as_documented", "reversed"])
async def test_rehearsal(
    previous: Release,
    order: Sequence[str],
    empty: Database,
    postgres: Postgres,
    temporal: TemporalServer,
    temporal_client: Client,
    tmp_path: Path,
) -> None:
    """Migrate, then replace one process after the other: no job is lost, none runs twice, no statement is blocked."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    server_log = postgres.log.stat().st_size
    async with AsyncExitStack() as stack:
        old, new = [
            await programs_of(release, empty, temporal, ledger, tmp_path, stack) for release in (previous, THIS)
        ]
        everybody = (*old.values(), *new.values())
        urls = ",".join(f"http://127.0.0.1:{one['relay'].ports[0]}" for one in (old, new))
        for program in everybody:
            program.variables["DELEGATOR_STREAM_URL"] = urls
        await previous.migrate(old["serve"].variables)
        async with asyncio.TaskGroup() as group:
            for program in old.values():
                group.create_task(program.start())
        async with running(temporal_client, f"{empty.name}-{order[0]}") as load:
            await load.goes_on()
            said = await THIS.migrate(new["serve"].variables)
            assert "nothing to do" not in said
            await load.goes_on()
            for role in order:
                await new[role].start()
                if role in SHARING:
                    await load.goes_on()
                await old[role].end()
                await load.goes_on()
    check(ledger, empty, load)
    assert blocked(postgres.log, server_log, await oid(empty)) == []
    async with await psycopg.AsyncConnection.connect(empty.url) as connection:
        left = await (
            await connection.execute("SELECT count(*) FROM custom_task_queue WHERE outcome IS NULL")
        ).fetchone()
    assert left == (0,)


async def programs_of(
    release: Release,
    database: Database,
    temporal: TemporalServer,
    ledger: Path,
    logs: Path,
    stack: AsyncExitStack,
) -> dict[str, ReleaseProgram]:
    """Describe a release's processes; the stack ends what runs of them."""
    environment = {
        "DELEGATOR_DATABASE_URL": database.url,
        "DELEGATOR_SLOT": database.settings.slot,
        "DELEGATOR_STREAM_TOKEN": "a token of this test",
        "DELEGATOR_ATLAS": "off",
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "LEDGER": str(ledger),
    }
    programs = release.programs(environment, logs)
    for program in programs.values():
        stack.callback(program.release)
        stack.push_async_callback(program.kill)
    return programs


def check(ledger: Path, database: Database, load: Load) -> None:
    """Each job ran once, and each release ran some."""
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    runs = Counter((line["order"], line["number"]) for line in lines)
    assert [run for run, times in runs.items() if times > 1] == []
    assert len(runs) == load.done * len(_RESULT) + load.asked
    assert {line["release"] for line in lines} == {"N-1", "N"}


async def oid(database: Database) -> int:
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        query = sql.SQL("SELECT oid::int FROM pg_database WHERE datname = current_database()")
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])


def blocked(log: Path, start: int, database: int) -> list[str]:
    """Return the waits for a table's lock that the server has logged."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    waits = re.compile(rf"still waiting for \w+ on relation \d+ of database {database} ")
    return [line for line in lines if waits.search(line)]
