"""The dispatcher is killed at every point, paused, and cut off from Temporal: nothing is lost or happens twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from delegator.dev.temporal import TemporalServer
from delegator.maintenance.metrics import OutboxMetrics
from delegator.maintenance.outbox import OutboxDispatcher, OutboxOptions
from delegator.outbox import Outbox
from delegator.postgres.connections import DatabaseAddress, connection_pool
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.temporal_client import connect_temporal
from tests.integration.outbox.conftest import TASK_QUEUE
from tests.integration.outbox.flows import Echo, Mailbox, Single
from tests.integration.outbox.support import eventually, is_empty, result
from tests.support import Database
from tests.support.forwarding import forward
from tests.support.watches import database_watch

pytestmark = pytest.mark.usefixtures("worker")

IS_LONG = os.environ.get("DELEGATOR_CHAOS") == "long"
ROUNDS = 5 if IS_LONG else 1
TRANSACTIONS = 1_000 if IS_LONG else 160
POINTS = ("before_send", "after_send", "before_delete", "after_delete")
SCRIPT = Path(__file__).with_name("failing_serve.py")
ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def serve(
    database: Database, address: str, point: str, after: int, by: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a maintenance process that a signal stops at a point."""
    environment = {
        **os.environ,
        "DELEGATOR_DATABASE_URL": database.url,
        "TEMPORAL_ADDRESS": address,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'schema'}",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, SCRIPT, point, str(after), by), env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Work:
    """What the application's transactions do, and what must come of it."""

    def __init__(self, outbox: Outbox, url: str) -> None:
        self._outbox = outbox.aio
        self._url = url
        self._prefix = uuid.uuid4().hex
        self.boxes: dict[str, list[int]] = {f"{self._prefix}-box-{number}": [] for number in range(8)}
        self.started: Counter[str] = Counter()
        self.with_signal: set[str] = set()
        self.never: set[str] = set()

    async def begin(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._url) as db:
            for name in self.boxes:
                await self._outbox.start_workflow(db, Mailbox.run, id=name, task_queue=TASK_QUEUE)

    async def write(self) -> None:
        """Run the transactions. Half of them roll back."""

        async def some(boxes: list[str], count: int) -> None:
            draw = random.Random(len(boxes))
            async with await psycopg.AsyncConnection.connect(self._url) as db:
                for number in range(count):
                    box, name = draw.choice(boxes), f"{self._prefix}-{boxes[0]}-{number}"
                    await self._outbox.signal_workflow(db, box, Mailbox.put, number)
                    if number % 4 < 2:
                        await self._outbox.start_workflow(db, Echo.run, name, 1, id=name, task_queue=TASK_QUEUE)
                    else:
                        await self._outbox.signal_with_start_workflow(
                            db, Single.run, id=name, task_queue=TASK_QUEUE, signal=Single.put, signal_args=[number]
                        )
                        self.with_signal.add(name)
                    if number % 2:
                        await db.commit()
                        self.boxes[box].append(number)
                        self.started[name] += 1
                    else:
                        await db.rollback()
                        self.never.add(name)
                for box in boxes:
                    await self._outbox.signal_workflow(db, box, Mailbox.close)

        names = list(self.boxes)
        await asyncio.gather(*(some(names[at::4], TRANSACTIONS // 4) for at in range(4)))

    async def check(self, client: Client, *, paused: bool = False) -> None:
        """Compare with what Temporal has: each workflow once, each signal once and in order.

        A dispatcher that was paused between the two calls of a signal-with-start may start a second run of it.
        """
        for name, numbers in self.boxes.items():
            assert await result(client, name) == numbers

        async def runs() -> Counter[str]:
            query = f"WorkflowId STARTS_WITH '{self._prefix}-' AND WorkflowType != 'Mailbox'"
            return Counter([one.id async for one in client.list_workflows(query)])

        async def are_all_seen() -> bool:
            return (await runs()).keys() >= self.started.keys()

        await eventually(are_all_seen)
        found = await runs()
        twice = found - self.started if paused else Counter[str]()
        assert twice.keys() <= self.with_signal
        assert found - twice == self.started
        assert not self.never & (await runs()).keys()


async def test_killed(database: Database, temporal: TemporalServer, temporal_client: Client) -> None:
    """`kill -9` before and after a send, and before and after a delete, while transactions commit and roll back."""
    work = Work(Outbox(database.settings), database.url)
    await work.begin()
    writing = asyncio.create_task(work.write())
    for number in range(ROUNDS):
        for point in POINTS:
            after = 15 + 10 * number if "send" in point else 3 + number
            async with serve(database, temporal.address, point, after, "SIGKILL") as process:
                async with asyncio.timeout(60):
                    assert await process.wait() == -signal.SIGKILL, point
    await writing
    async with serve(database, temporal.address, "never", 0, "SIGKILL"):
        await eventually(lambda: is_empty(database.url))
        await work.check(temporal_client)


async def test_paused(database: Database, temporal: TemporalServer, temporal_client: Client) -> None:
    """A leader is paused just before it sends, and another leads meanwhile. What the first one still sends is known."""
    work = Work(Outbox(database.settings), database.url)
    await work.begin()
    await work.write()
    async with serve(database, temporal.address, "before_send", 20, "SIGSTOP") as paused:
        assert paused.stdout is not None
        async with asyncio.timeout(60):
            assert await paused.stdout.readline() == b"reached before_send\n"
        async with serve(database, temporal.address, "never", 0, "SIGKILL"):
            async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as db:
                await db.execute(
                    b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    b"AND application_name = 'delegator leader'"
                )
            await eventually(lambda: is_empty(database.url))
            paused.send_signal(signal.SIGCONT)
            await work.check(temporal_client, paused=True)
            # It goes on, and waits for the lock.
            await eventually(lambda: has_follower(database.url))
        await work.check(temporal_client, paused=True)


async def has_follower(url: str) -> bool:
    """Return whether two processes have the connection on which one leads and the other waits."""
    async with await psycopg.AsyncConnection.connect(url) as db:
        cursor = await db.execute(
            b"SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'delegator leader'"
        )
        return cursor.rowcount == 2


class Way:
    """A way to Temporal that can be closed."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        self._writers += (writer, there_writer)
        await asyncio.gather(forward(reader, there_writer), forward(there_reader, writer))


async def test_temporal_away(
    database: Database, temporal: TemporalServer, temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Temporal is away operations wait, in their order, and the metrics say how many; then all are sent."""
    way = Way(temporal.address)
    await way.open()
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{way.port}")
    work = Work(Outbox(database.settings), database.url)
    await work.begin()
    state = ConnectionState("temporal", ConnectionMetrics(CollectorRegistry()))
    registry = CollectorRegistry()
    async with AsyncExitStack() as stack:
        dispatcher = OutboxDispatcher(
            address=DatabaseAddress.of(database.settings),
            pool=await stack.enter_async_context(connection_pool(database.url, application_name="test", size=3)),
            database=database_watch(database.settings),
            listener=database_watch(database.settings),
            client=await connect_temporal(temporal_client.data_converter),
            temporal=state,
            identity="test",
            metrics=OutboxMetrics(registry),
            options=OutboxOptions(),
        )
        task = asyncio.create_task(dispatcher.run())
        try:
            await eventually(lambda: is_empty(database.url))
            await way.close()
            await work.write()

            async def is_away() -> bool:
                return not state.up

            async def waits() -> bool:
                return (registry.get_sample_value("delegator_outbox_waiting") or 0) >= TRANSACTIONS

            await eventually(is_away)
            await eventually(waits)
            if IS_LONG:
                await asyncio.sleep(20)
            assert (registry.get_sample_value("delegator_outbox_oldest_seconds") or 0) > 0
            await way.open()
            await eventually(lambda: is_empty(database.url))
            assert state.up
            await work.check(temporal_client, paused=True)
        finally:
            task.cancel()
            await asyncio.wait([task])
    await way.close()
