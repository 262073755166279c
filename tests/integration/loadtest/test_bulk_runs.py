"""Queues without workflows: ours and others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from importlib.util import find_spec
from typing import Any

import psycopg
import pytest

from delegator.dev import RunningStack
from tests.integration.loadtest.test_load_runs import loadtest

PEERS = ("pgqueuer", "asyncpg", "procrastinate")


async def _numbers(stack: RunningStack, *arguments: str) -> dict[str, Any]:
    code, output, errors = await loadtest(*arguments, "--json", "-", environment=stack.environment)
    assert (code, errors) == (0, "")
    numbers: dict[str, Any] = json.loads(output)
    return numbers


async def test_bulk_beside_the_yardsticks(stack: RunningStack) -> None:
    numbers = await _numbers(stack, "bulk", "--jobs", "1000", "--rounds", "1")
    assert (numbers["mode"], numbers["rounds"], len(numbers["runs"])) == ("bulk", 1, 3)
    for arm in ("delegator", "bare", "bare-run"):
        result = numbers["arms"][arm]
        assert (result["completed"], result["failed"]) == (1000, 0)
        assert result["jobs_per_s"] > 0
        assert numbers["ratios"]["delegator/bare"]["jobs_per_s"] > 0
    assert numbers["settings"]["postgres"] == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_level": "logical",
    }
    async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
        cursor = await connection.execute("SELECT count(*) FROM custom_task_queue")
        assert await cursor.fetchone() == (0,)
        cursor = await connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'loadtest%'")
        assert await cursor.fetchall() == []


@pytest.mark.parametrize(
    ("mode", "arguments"),
    [("backlog", ("--backlog", "--jobs", "700")), ("steady", ("--rate", "200", "--duration", "2"))],
)
async def test_other_modes(stack: RunningStack, mode: str, arguments: tuple[str, ...]) -> None:
    numbers = await _numbers(stack, "bulk", "--rounds", "1", "--no-bare", *arguments)
    (result,) = numbers["arms"].values()
    assert (numbers["mode"], result["failed"]) == (mode, 0)
    assert (result["job_start_ms"] is not None) is (mode == "steady")


async def test_other_jobs(stack: RunningStack) -> None:
    """The load test does not touch a queue that has other jobs."""
    async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as connection:
        await connection.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('theirs', 't')")
        try:
            code, _, errors = await loadtest("bulk", "--shared", "--jobs", "10", environment=stack.environment)
            cursor = await connection.execute("SELECT job_id FROM custom_task_queue")
            assert await cursor.fetchall() == [("theirs",)]
        finally:
            await connection.execute("DELETE FROM custom_task_queue WHERE job_id = 'theirs'")
    assert (code, errors.count("\n")) == (2, 1)
    assert "jobs that are not ours" in errors


async def test_an_interrupted_run_leaves_no_rows(stack: RunningStack) -> None:
    async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as connection:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest", "bulk", "--backlog", "--no-bare", "--jobs", "1000000"),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **stack.environment},
        )
        async with asyncio.timeout(60):
            while not await _queued(connection):
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (130, "")
        assert not await _queued(connection)


async def _queued(connection: psycopg.AsyncConnection[Any]) -> int:
    row = await (await connection.execute("SELECT count(*) FROM custom_task_queue")).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.skipif(
    any(find_spec(peer) is None for peer in PEERS), reason="needs pip install 'temporal-delegator[peers]'"
)
async def test_peers_run_the_same_load(stack: RunningStack) -> None:
    load = ("--scenarios", "steady", "--rate", "50", "--duration", "1", "--rounds", "1")
    numbers = (await _numbers(stack, "peers", *load))["steady"]
    assert set(numbers["arms"]) == {"delegator", "pgqueuer", "procrastinate"}
    for result in numbers["arms"].values():
        assert (result["completed"], result["failed"]) == (50, 0)
        assert result["job_start_ms"]["p50"] > 0


async def test_missing_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the packages that are missing."""
    from delegator.errors import ConfigurationError
    from loadtest.commands import bulk_peers

    monkeypatch.setattr(bulk_peers, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"not installed: pgqueuer, asyncpg; pip install '.*\[peers\]'"):
        bulk_peers.peers(queues="pgqueuer")
