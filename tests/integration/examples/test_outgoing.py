from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
from psycopg_pool import AsyncConnectionPool
from temporalio.exceptions import ApplicationError

from delegator import delegated
from delegator.dev import RunningStack
from delegator.testing import JobEnvironment
from examples import outgoing
from examples.database import Connection, create_tables, database, database_url, execute, fetch_value


class Message(NamedTuple):
    """A message that jobs send, from a worker with one connection."""

    key: str
    pool: AsyncConnectionPool[Connection]

    async def sent_by(self, job: str, send: Callable[[], Awaitable[None]]) -> bool:
        @delegated
        async def send_message() -> bool:
            return await outgoing.send_once(self.key, "somebody", send)

        return await JobEnvironment(job_id=job, provide={database: self.pool}).run(send_message)

    async def use_database(self) -> None:
        async with self.pool.connection():
            pass


@pytest.fixture
async def message(servers: RunningStack) -> AsyncIterator[Message]:
    await create_tables(outgoing.SCHEMA)
    async with AsyncConnectionPool[Connection](database_url(), min_size=1, max_size=1, timeout=5, open=False) as pool:
        yield Message(uuid.uuid4().hex, pool)


async def fail() -> None:
    raise ConnectionError("no answer")


async def test_no_connection_while_sending(message: Message) -> None:
    """While a message is being sent, the other handlers of the worker have all of its connections."""
    assert await message.sent_by("one", message.use_database)
    assert not await message.sent_by("two", fail)


async def test_one_sender(message: Message) -> None:
    """A second job with the same key sends nothing while the first one does, and comes again later."""

    async def meanwhile() -> None:
        with pytest.raises(ApplicationError) as refused:
            await message.sent_by("two", fail)
        assert (refused.value.type, refused.value.non_retryable) == ("BeingSent", False)

    assert await message.sent_by("one", meanwhile)
    assert not await message.sent_by("two", fail)


async def test_failed_sender(message: Message) -> None:
    """A job that could not send leaves the message to any other."""
    with pytest.raises(ConnectionError):
        await message.sent_by("one", fail)
    assert await message.sent_by("two", message.use_database)


async def test_dead_sender(message: Message) -> None:
    """A worker dies while it sends: the job's next attempt sends again at once, another job after a minute."""
    await execute("INSERT INTO outgoing.mails (key, recipient, sender) VALUES (%s, '', 'one')", message.key)
    with pytest.raises(ApplicationError):
        await message.sent_by("two", fail)
    await execute("UPDATE outgoing.mails SET taken_at = taken_at - interval '61 s' WHERE key = %s", message.key)
    with pytest.raises(ConnectionError):
        await message.sent_by("two", fail)
    await execute("UPDATE outgoing.mails SET sender = 'one', taken_at = now() WHERE key = %s", message.key)
    assert await message.sent_by("one", message.use_database)
    assert await fetch_value("SELECT sent_at IS NOT NULL FROM outgoing.mails WHERE key = %s", message.key) is True
