"""A client of the protocol as simple as curl, and gateways as processes."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from delegator.gateway.options import GatewayOptions
from delegator.gateway.service import Gateway
from tests.integration.delegator.environment import FAILING, ROOT, TASKS, Environment, eventually

OWN = "tests.integration.gateway.via_tasks"


@dataclass(frozen=True)
class Reply:
    """A reply of a gateway."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Caller:
    """Posts JSON to gateways."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str | None = None) -> None:
        self.session = session
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def post(self, route: str, **body: Any) -> Reply:
        async with self.session.post(f"{self.url}/v1/{route}", json=body, headers=self.headers) as response:
            return Reply(response.status, await response.json(content_type=None), response.headers)

    async def poll(self, *types: str, **options: Any) -> list[Any]:
        reply = await self.post("poll", **{"queue": "default", "types": types, "wait_seconds": 30, **options})
        assert reply.status == 200, reply
        jobs: list[Any] = reply.body["jobs"]
        return jobs

    async def job(self, *types: str, **options: Any) -> Any:
        """Return the next job."""
        jobs = await self.poll(*types, **options)
        assert len(jobs) == 1
        return jobs[0]

    async def say(self, route: str, job: Any, **said: Any) -> str:
        """Send one entry about a job. Return the status of the answer."""
        (answer,) = await self.say_all(route, [{"token": job["token"], **said}])
        status: str = answer["status"]
        return status

    async def say_all(self, route: str, entries: Sequence[Any]) -> list[Any]:
        reply = await self.post(route, jobs=entries)
        assert reply.status == 200, reply
        answers: list[Any] = reply.body["jobs"]
        return answers

    def on(self, url: str) -> Caller:
        """Return a caller of another gateway."""
        other = Caller(self.session, url)
        other.headers = self.headers
        return other


@dataclass(frozen=True)
class RunningGateway:
    """A gateway in this process."""

    url: str
    stop: asyncio.Event
    """Asks it to stop."""
    ended: asyncio.Task[None]
    """Ends when it has stopped."""


@asynccontextmanager
async def running_gateway(
    engine: Environment, client: Client | None = None, **options: Any
) -> AsyncIterator[RunningGateway]:
    """Run a gateway on this event loop, ready when the block begins."""
    settings = engine.settings
    options = {"queues": settings.queues, "port": 0, "grace": timedelta(seconds=5), **options}
    gateway = Gateway(GatewayOptions(**options), settings, CollectorRegistry(), client=client or engine.client)
    stop, started = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with gateway.running(stop):
            started.set()
            await stop.wait()

    task = asyncio.create_task(run(), name="gateway")
    starting = asyncio.create_task(started.wait())
    await asyncio.wait([task, starting], return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    try:
        if task.done():
            await task
        yield RunningGateway(gateway.url, stop, task)
    finally:
        stop.set()
        await task


@dataclass(frozen=True)
class GatewayProcess:
    """A gateway's process, for tests that kill it."""

    url: str
    process: asyncio.subprocess.Process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


@asynccontextmanager
async def gateway_process(engine: Environment, *arguments: str, **variables: str) -> AsyncIterator[GatewayProcess]:
    """Run a gateway, ready when the block begins."""
    port = free_port()
    log = Path(tempfile.mkstemp(prefix="gateway-", suffix=".log", dir=engine.directory)[1])
    with log.open("wb") as output:  # noqa: ASYNC230
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "delegator", "gateway", "--port", str(port), "--grace", "5", *arguments),
            cwd=ROOT,
            env={**engine.variables, **variables},
            stdout=output,
            stderr=output,
        )

    async def is_up() -> bool:
        if process.returncode is not None:
            raise AssertionError(f"the gateway ended:\n{log.read_text()}")
        return "gateway_started" in log.read_text()

    try:
        await eventually(is_up)
        yield GatewayProcess(f"http://127.0.0.1:{port}", process)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()


async def polls_wait(session: aiohttp.ClientSession, url: str, count: int = 1) -> None:
    """Wait until so many polls wait at a gateway."""

    async def look() -> bool:
        async with session.get(f"{url}/metrics") as reply:
            return f"delegator_gateway_polls_waiting {count}.0" in await reply.text()

    await eventually(look)


@asynccontextmanager
async def via(engine: Environment, url: str, **variables: str) -> AsyncIterator[None]:
    """Run a Python worker behind a gateway. It can't reach the database or the stream."""
    nowhere = {
        "DELEGATOR_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "DELEGATOR_STREAM_URL": "http://127.0.0.1:1",
    }
    async with engine.http_worker("--via", url, modules=[TASKS, FAILING, OWN], **nowhere, **variables):
        yield
