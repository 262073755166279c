"""A client of the pull API, and what the relay's tests do with the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import psycopg
from delegator_schema.queues import DEFAULT_QUEUE, queue_publication, queue_slot

from delegator.postgres.connections import Connection, connect
from delegator.postgres.replication import start_command
from delegator.relay import RelayHandle, RelayOptions, running_relay
from tests.support import Database

STREAM = "custom_task_queue"


class Puller:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def post(self, action: str, body: object, stream: str = STREAM) -> tuple[int, Any]:
        url = f"{self.url}/api/sequin_streams/{stream}/{action}"
        async with self.session.post(url, json=body) as response:
            return response.status, await response.json()

    async def receive(self, limit: int = 1000, wait: int = 5000, stream: str = STREAM) -> list[Any]:
        status, body = await self.post("receive", {"max_batch_size": limit, "wait_for": wait}, stream)
        assert status == 200, body
        messages: list[Any] = body["data"]
        return messages

    async def ack(self, messages: list[Any], stream: str = STREAM) -> None:
        if messages:
            ids = [message["ack_id"] for message in messages]
            assert await self.post("ack", {"ack_ids": ids}, stream) == (200, {"success": True})

    async def has(self, count: int, stream: str = STREAM) -> None:
        """Wait until so many messages can be received at once: a transaction's rows may come one by one."""
        taken: list[Any] = []
        while len(taken) < count:
            taken += await self.receive(count - len(taken), stream=stream)
        ids = [message["ack_id"] for message in taken]
        assert await self.post("nack", {"ack_ids": ids}, stream) == (200, {"success": True})

    async def drain(self, quiet: int = 500) -> list[str]:
        """Receive and ack until nothing comes for `quiet` ms; return the jobs in the order of their arrival."""
        jobs: list[str] = []
        while batch := await self.receive(wait=quiet if jobs else 5000):
            jobs += names(batch)
            await self.ack(batch)
        return jobs

    async def health(self) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/health") as response:
            body: dict[str, Any] = await response.json()
            assert response.status == (200 if body["ok"] else 503)
            return body

    async def metric(self, name: str) -> float:
        async with self.session.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def names(messages: list[Any]) -> list[str]:
    return [message["data"]["record"]["job_id"] for message in messages]


def options(database: Database, **changes: Any) -> RelayOptions:
    base = RelayOptions.from_settings(database.settings, port=0)
    return replace(base, **{"backoff_cap": 0.3, "status_interval": 0.1} | changes)


@asynccontextmanager
async def relay(database: Database, **changes: Any) -> AsyncIterator[tuple[RelayHandle, Puller]]:
    async with running_relay(options(database, **changes)) as handle, aiohttp.ClientSession() as session:
        yield handle, Puller(handle.url, session)


async def execute(database: Database, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        cursor = await connection.execute(query.encode(), arguments or None)
        return await cursor.fetchall() if cursor.description else []


async def enqueue(
    database: Database, first: int, last: int, size: int = 0, table: str = STREAM, suffix: str = ""
) -> list[str]:
    """Insert the jobs j<first>..j<last>, with `suffix` behind their names and an input of `size` bytes."""
    await execute(
        database,
        f"INSERT INTO {table} (job_id, job_type, input) "
        "SELECT 'j' || g || %s, 't', convert_to(repeat('x', %s), 'UTF8') FROM generate_series(%s::int, %s::int) g",
        suffix, size, first, last,
    )  # fmt: skip
    return [f"j{number}{suffix}" for number in range(first, last + 1)]


async def until(condition: Callable[[], Awaitable[bool]], limit: float = 60.0) -> None:
    async with asyncio.timeout(limit):
        while not await condition():
            await asyncio.sleep(0.03)


_LSN = "SELECT confirmed_flush_lsn::text, active_pid FROM pg_replication_slots WHERE slot_name = %s"


async def slot(database: Database) -> tuple[Any, ...]:
    (row,) = await execute(database, _LSN, database.settings.slot)
    return row


@asynccontextmanager
async def other_reader(database: Database, queue: str = DEFAULT_QUEUE) -> AsyncIterator[Connection]:
    """A process that is no relay reads a queue's slot."""
    name = queue_slot(queue, database.settings.slot)
    other = await connect(database.url, application_name="pg_recvlogical", replication=True)
    try:
        other.pgconn.send_query(start_command(other, name, queue_publication(queue, "delegator_publication")))

        async def reads() -> bool:
            ((_, reader),) = await execute(database, _LSN, name)
            return reader is not None

        await until(reads)
        yield other
    finally:
        await other.close()


async def wal_position(database: Database) -> str:
    return str((await execute(database, "SELECT pg_current_wal_lsn()::text"))[0][0])


async def behind(database: Database, position: str) -> bool:
    """The slot is confirmed beyond a position."""
    (row,) = await execute(
        database,
        "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s",
        position, database.settings.slot,
    )  # fmt: skip
    return bool(row[0])


async def terminate(database: Database) -> None:
    await execute(
        database,
        "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = %s "
        "AND active_pid IS NOT NULL",
        database.settings.slot,
    )


async def drop_slot(database: Database) -> None:
    """Drop the slot, though the relay takes it again as soon as it can."""
    async with asyncio.timeout(60):
        while True:
            await terminate(database)
            try:
                await execute(database, "SELECT pg_drop_replication_slot(%s)", database.settings.slot)
                return
            except psycopg.errors.ObjectInUse:
                continue


async def started(handle: RelayHandle, reconnects: int) -> None:
    async def again() -> bool:
        return handle.relay.state.reconnects >= reconnects and handle.relay.state.connected

    await until(again)


async def recreated(handle: RelayHandle) -> bool:
    """The relay has found that its slot was lost, and streams from a new one."""
    return handle.relay.state.slot_recreated == 1 and handle.relay.state.connected
