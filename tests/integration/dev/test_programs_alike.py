"""Every long-running program has the same endpoints, log lines and signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from delegator.dev.ports import reserve

MODULE = """
from delegator import delegated
from temporalio import workflow

@delegated
async def pack(order: int) -> int: return order

@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None: ...
"""
SCRIPTS = Path(sysconfig.get_path("scripts"))
HTTP_WORKER = (str(SCRIPTS / "http-worker"), "--import", "shop")
COMMANDS = {
    "relay": (sys.executable, "-m", "delegator", "relay"),
    "serve": (sys.executable, "-m", "delegator", "serve"),
    "ui": (sys.executable, "-m", "delegator", "ui"),
    "worker": (sys.executable, "-m", "delegator", "worker", "--import", "shop", "--task-queue", "q"),
    "dev": (sys.executable, "-m", "delegator", "dev", "--headless", "--json"),
    "http-worker": HTTP_WORKER,
    "http-worker --processes 2": (*HTTP_WORKER, "--processes", "2"),
}


@dataclass
class Program:
    process: asyncio.subprocess.Process
    url: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    """What it logged."""

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def failed(self) -> list[dict[str, Any]]:
        """The lines that say that a server is away."""
        return [line for line in self.lines if line["event"] == "connection_failed"]

    async def get(self, route: str) -> tuple[int, str]:
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + route) as response:
                return response.status, await response.text()
        except aiohttp.ClientError:
            assert self.process.returncode is None, self.lines
            return 0, ""

    async def until(self, condition: Callable[[int, str], bool], route: str) -> tuple[int, str]:
        async with asyncio.timeout(90):
            while not condition(*(answer := await self.get(route))):
                await asyncio.sleep(0.1)
        return answer


@contextlib.asynccontextmanager
async def started(command: tuple[str, ...], directory: Path, database_url: str) -> AsyncIterator[Program]:
    """Run a program whose PostgreSQL is away."""
    (directory / "shop.py").write_text(MODULE)
    port = reserve()  # until the end: a program may bind it late
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--port", str(port.number), "--log-format", "json", "--log-level", "info"),
        cwd=directory,
        env={**os.environ, "DELEGATOR_DATABASE_URL": database_url, "DELEGATOR_START_TIMEOUT": "10m"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    program = Program(process, f"http://127.0.0.1:{port.number}")
    reading = asyncio.create_task(program.read())
    try:
        yield program
        async with asyncio.timeout(60):
            await reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        reading.cancel()
        port.release()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a database on a port that nobody listens on."""
    port = reserve()
    yield f"postgresql://postgres@127.0.0.1:{port.number}/none?connect_timeout=2"
    port.release()


@pytest.mark.parametrize("name", COMMANDS)
async def test_programs(name: str, tmp_path: Path, nowhere: str) -> None:
    """While PostgreSQL is away they live, are not ready, and say so; a signal stops each with status 0.

    `delegator dev` has a PostgreSQL of its own, and becomes ready.
    """
    async with started(COMMANDS[name], tmp_path, nowhere) as program:
        wanted = 200 if name == "dev" else 503

        def settled(status: int, body: str) -> bool:
            return status == wanted and (name == "dev" or "can't connect to PostgreSQL" in body)

        _, body = await program.until(settled, "/readyz")
        ready = json.loads(body)
        if name == "dev":
            assert set(ready["dependencies"]) == {"postgres", "temporal", "relay", "serve"}
        else:
            assert "DELEGATOR_DATABASE_URL" in ready["dependencies"]["postgresql"]
            assert "postgresql" in ready["missing"]
        assert await program.get("/livez") == (200, '{"live":true,"stalled":{}}')
        status, metrics = await program.get("/metrics")
        assert status == 200
        assert "delegator_" in metrics
        if name == "relay":
            assert (await program.get("/health"))[0] == 503
        if name.endswith("2"):
            async with asyncio.timeout(90):
                while {line["worker"] for line in program.failed()} != {0, 1}:
                    await asyncio.sleep(0.1)
        program.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await program.process.wait() == 0, program.lines
    assert {"time", "level", "logger", "event"} <= set.intersection(*(set(line) for line in program.lines))
    failed = program.failed()
    if name == "dev":
        assert program.lines[-1]["event"] == "stack_stopped"
    else:
        assert {line["dependency"] for line in failed} == {"postgresql"}
        assert "can't connect to PostgreSQL (DELEGATOR_DATABASE_URL)" in failed[0]["reason"]
