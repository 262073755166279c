"""Processes start before their servers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from delegator.errors import ConfigurationError, DatabaseError, DelegatorError
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.startup import wait_for


class Server:
    """Fails a few times."""

    def __init__(self, *errors: DelegatorError) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def state() -> ConnectionState:
    return ConnectionState("postgresql", ConnectionMetrics(CollectorRegistry()))


async def test_late_server(state: ConnectionState):
    """A process waits for a server that is not up yet."""
    server = Server(DatabaseError("away"), DatabaseError("away"))
    assert await wait_for(server.check, timedelta(seconds=20), state, asyncio.Event())
    assert (server.asked, state.up) == (3, True)


async def test_start_timeout(state: ConnectionState):
    """The wait for a server ends with its error after the timeout."""
    server = Server(*(DatabaseError("away") for _ in range(99)))
    with pytest.raises(DatabaseError):
        await wait_for(server.check, timedelta(seconds=0.2), state, asyncio.Event())
    assert state.problem() == "away"


async def test_one_failure(state: ConnectionState):
    """One failure does not end the wait, even after the timeout: the process itself may have been paused."""
    server = Server(DatabaseError("timed out"))
    assert await wait_for(server.check, timedelta(0), state, asyncio.Event())


async def test_permanent_error(state: ConnectionState):
    """An error that only a person can fix ends the wait at once."""
    server = Server(ConfigurationError("wrong"))
    with pytest.raises(ConfigurationError):
        await wait_for(server.check, timedelta(seconds=20), state, asyncio.Event())
    assert server.asked == 1


async def test_a_request_to_stop_ends_the_wait(state: ConnectionState):
    stop = asyncio.Event()
    server = Server(*(DatabaseError("away") for _ in range(99)))
    asyncio.get_running_loop().call_later(0.05, stop.set)
    async with asyncio.timeout(60):
        assert not await wait_for(server.check, timedelta(seconds=600), state, stop)
