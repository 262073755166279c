"""`delegator serve` while PostgreSQL is away, or refuses: it says so, goes on, and works again after."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import pytest
from pydantic import SecretStr

from delegator import Settings
from delegator.dev.ports import reserve
from delegator.maintenance.service import ServeOptions, serve
from delegator.postgres import leader_lock
from delegator.postgres.connections import Connection, connect
from tests.support import Database
from tests.support.forwarding import forward

ASKED = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%'
"""


class Way:
    """A way to the database that can be closed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._port = reserve()
        self.url = f"postgresql://{parts.netloc.partition('@')[0]}@127.0.0.1:{self._port.number}{parts.path}"
        self._port.release()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port.number)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers += (writer, there_writer)
        await asyncio.gather(forward(reader, there_writer), forward(there_reader, writer))


class Serving:
    """A maintenance process in this event loop."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.port = reserve()
        self._ready = f"http://127.0.0.1:{self.port.number}/readyz"
        self._session = session
        settings = Settings.load(database_url=SecretStr(url))
        self.task = asyncio.create_task(serve(ServeOptions(port=self.port.number), settings))

    async def problem(self) -> str | None:
        """What `/readyz` says of PostgreSQL."""
        assert not self.task.done(), self.task
        try:
            async with self._session.get(self._ready) as response:
                body = await response.json()
        except aiohttp.ClientConnectionError:
            return "does not listen yet"
        said: str | None = body["dependencies"]["postgresql"]
        assert (said is not None) == ("postgresql" in body["missing"])
        assert response.status == 503 if body["missing"] else 200
        return said


@contextlib.asynccontextmanager
async def serving(url: str) -> AsyncIterator[Serving]:
    async with aiohttp.ClientSession() as session:
        process = Serving(url, session)
        try:
            await eventually(lambda: is_ready(process))
            yield process
        finally:
            process.task.cancel()
            await asyncio.wait([process.task])
            process.port.release()


async def is_ready(process: Serving) -> bool:
    return await process.problem() is None


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.02)


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Connection]:
    # The name of a maintenance process, which may hold the leader's lock.
    async with await connect(database.url, application_name=leader_lock.APPLICATION_NAME) as connection:
        yield connection


@pytest.fixture(autouse=True)
def no_temporal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Temporal is no concern of these tests."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    caplog.set_level(logging.INFO)


def count(caplog: pytest.LogCaptureFixture, event: str) -> int:
    return sum(
        record.message == event and getattr(record, "dependency", "postgresql") == "postgresql"
        for record in caplog.records
    )


@pytest.mark.parametrize("stands_by", [False, True])
async def test_outage(stands_by: bool, database: Database, owner: Connection, caplog: pytest.LogCaptureFixture) -> None:
    """`/readyz` follows an outage, for the leader and for a process that waits for the lock; it is logged once."""
    if stands_by:
        assert await leader_lock.try_lock(owner)
    way = Way(database.url)
    await way.open()
    async with serving(way.url) as process:

        async def began() -> bool:
            if stands_by:
                return bool(await (await owner.execute(ASKED)).fetchall())
            return count(caplog, "leader_elected") == 1

        async def is_lost() -> bool:
            return await process.problem() is not None

        await eventually(began)
        await way.close()
        await eventually(is_lost)
        await way.open()
        await eventually(lambda: is_ready(process))
        assert count(caplog, "connection_lost") == count(caplog, "connection_restored") == 1
        assert count(caplog, "leader_lost") == (0 if stands_by else 1)
    await way.close()


async def test_missing_privilege(database: Database, owner: Connection, caplog: pytest.LogCaptureFixture) -> None:
    """A privilege that goes missing is logged with its cure, `/readyz` says it, and the leader goes on."""
    role = f"app_{database.name}"
    parts = urlsplit(database.url)
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' IN ROLE delegator_maintenance".encode())
    try:
        async with serving(f"postgresql://{role}:x@{parts.hostname}:{parts.port}{parts.path}") as process:
            cure = 'GRANT INSERT ON TABLE "custom_task_queue" TO "delegator_maintenance"'
            wanted = f"role {role} may not INSERT in table custom_task_queue: {cure}"

            async def is_refused() -> bool:
                return await process.problem() == wanted

            await owner.execute(b"REVOKE INSERT ON custom_task_queue FROM delegator_maintenance")
            await eventually(is_refused)
            await owner.execute(cure.encode())
            await eventually(lambda: is_ready(process))
    finally:
        await owner.execute(f"DROP ROLE {role}".encode())
    (record,) = [record for record in caplog.records if record.message == "database_refused"]
    fields = vars(record)
    assert (fields["loop"], fields["sqlstate"], fields["reason"]) == ("sweeper", "42501", wanted)
    assert count(caplog, "leader_lost") == 0


async def test_refused_lock(database: Database, owner: Connection, caplog: pytest.LogCaptureFixture) -> None:
    """A process that may not ask for the lock says so and asks again."""
    role = f"app_{database.name}"
    parts = urlsplit(database.url)
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' IN ROLE delegator_app".encode())
    await owner.execute(b"REVOKE EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) FROM PUBLIC")
    try:
        async with serving(f"postgresql://{role}:x@{parts.hostname}:{parts.port}{parts.path}") as process:

            async def is_refused() -> bool:
                return "pg_try_advisory_lock" in str(await process.problem())

            await eventually(is_refused)
            await owner.execute(b"GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) TO PUBLIC")
            await eventually(lambda: is_ready(process))
    finally:
        await owner.execute(f"DROP ROLE {role}".encode())
    assert count(caplog, "database_refused") == 1
    assert count(caplog, "leader_lost") == 0
