"""`http-worker` with resources and existing activities."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator.environment import ROOT, Environment, environment
from tests.support import Databases

BROKEN = "tests.integration.http_workers.broken_resource"


@pytest.fixture(scope="module")
async def idle_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_resource_fails_to_open(idle_engine: Environment, processes: str) -> None:
    """A resource that can't be opened ends the command with one line and exit code 2."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "http_workers", "--import", BROKEN, "--processes", processes),
        cwd=ROOT,
        env=idle_engine.variables,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        errors = (await worker.communicate())[1].decode()
    assert worker.returncode == 2
    *_, last = errors.splitlines()
    assert last.startswith(f"http-worker: the resource {BROKEN}.printer can't be opened: OSError: no paper (")
    assert "Traceback" not in errors
