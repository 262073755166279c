"""The health checks of a worker process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator.environment import Environment, environment, eventually
from tests.integration.http_workers.test_stop import enqueue, is_running
from tests.support import Databases


@pytest.fixture(scope="module")
async def idle_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


async def ask(port: int, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.json()


async def test_livez_while_blocked(idle_engine: Environment, port: int) -> None:
    """/livez fails while a handler blocks the event loop, and succeeds again afterwards."""
    async with idle_engine.http_worker("--port", str(port), "--stall-limit", "1"):

        async def live() -> bool:
            return (await ask(port, "/livez"))[0] == 200

        async def stalled() -> bool:
            status, said = await ask(port, "/livez")
            return status == 503 and "event_loop" in said["stalled"]

        assert await live()
        with idle_engine.held("None"):
            await enqueue(idle_engine, "blocks", job_type="blocks")
            await is_running(idle_engine, "blocks")
            await eventually(stalled)
        await eventually(live)
        await idle_engine.nothing_left()


async def test_readyz_without_stream(idle_engine: Environment, port: int) -> None:
    """A worker starts without its stream: /readyz names the stream as missing, and /livez succeeds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    async with idle_engine.http_worker("--port", str(port), DELEGATOR_STREAM_URL=f"http://127.0.0.1:{nobody}"):

        async def only_the_stream() -> bool:
            status, said = await ask(port, "/readyz")
            return (status, said["missing"]) == (503, ["stream"])

        await eventually(only_the_stream)
        assert (await ask(port, "/livez"))[0] == 200
