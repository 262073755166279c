from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from delegator.dev import RunningStack

RUN_KEYS = {
    *("arm", "scenario", "workflows", "jobs", "concurrency", "completed", "failed", "duration_s"),
    *("workflows_per_s", "jobs_per_s", "latency_ms", "history_events", "payload_bytes", "settings", "versions"),
    *("job_start_ms", "job_end_ms", "start_lag_ms", "inline_share", "latency_quantiles_ms", "series", "costs"),
}


async def loadtest(*arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_run_writes_its_numbers(stack: RunningStack) -> None:
    code, output, errors = await loadtest(
        *("run", "--arm", "delegated", "--scenario", "single", "--workflows", "12", "--concurrency", "6"),
        *("--payload-bytes", "100", "--json", "-"),
        environment=stack.environment,
    )
    assert (code, errors) == (0, "")
    numbers = json.loads(output)
    assert set(numbers) == RUN_KEYS
    assert (numbers["arm"], numbers["scenario"], numbers["payload_bytes"]) == ("delegated", "single", 100)
    assert (numbers["workflows"], numbers["completed"], numbers["failed"]) == (12, 12, 0)
    for name in ("latency_ms", "job_start_ms", "job_end_ms"):
        assert set(numbers[name]) == {"p50", "p90", "p95", "p99", "avg", "max"}
    assert len(numbers["latency_quantiles_ms"]) == 101
    assert sum(second["jobs"] for second in numbers["series"]) == 12
    assert numbers["settings"]["temporal"] == "deployed"
    parts = ("delegator", "python", "temporalio", "psycopg", "aiohttp", "uvloop", "temporal", "postgres", "cores")
    assert all(numbers["versions"][part] for part in parts)
    assert numbers["versions"]["postgres_settings"]["wal_level"] == "logical"
    assert numbers["costs"]["per_job"]["wal_bytes"] == pytest.approx(numbers["costs"]["wal_bytes"] / 12, abs=1e-5)
    assert numbers["costs"]["wal_bytes"] > 0
    assert set(numbers["costs"]["processes"]) == {"Temporal worker", "HTTP worker", "load generator"}


async def test_compare_writes_medians_and_ratios(stack: RunningStack, tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    code, output, errors = await loadtest(
        *("compare", "--arms", "delegated,floor", "--scenario", "fanout", "--rounds", "2"),
        *("--workflows", "2", "--jobs", "30", "--concurrency", "2", "--json", str(file)),
        environment=stack.environment,
    )
    assert (code, errors) == (0, "")
    assert "delegated" in output
    numbers = json.loads(file.read_text())
    assert set(numbers) == {"scenario", "rounds", "baseline", "arms", "spread", "ratios", "runs"}
    assert (numbers["scenario"], numbers["rounds"]) == ("fanout", 2)
    assert set(numbers["arms"]) == {"delegated", "floor"}
    assert all(set(arm) == RUN_KEYS and arm["failed"] == 0 for arm in numbers["arms"].values())
    assert set(numbers["ratios"]["delegated/floor"]) == {
        *("workflows_per_s", "jobs_per_s", "latency_p50", "latency_p99")
    }
    assert numbers["ratios"]["delegated/floor"]["jobs_per_s"] is None


@pytest.mark.parametrize(
    ("arm", "environment", "words"),
    [
        ("classic", {"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "Temporal at 127.0.0.1:1 does not answer"),
        ("delegated", {"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "DELEGATOR_DATABASE_URL is not set"),
        ("delegated", {"DELEGATOR_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "TEMPORAL_ADDRESS is not set"),
        (
            "delegated",
            {"TEMPORAL_ADDRESS": "127.0.0.1:1", "DELEGATOR_DATABASE_URL": "postgresql://127.0.0.1:1/x"},
            "can't connect to PostgreSQL (DELEGATOR_DATABASE_URL)",
        ),
    ],
)
async def test_unreachable_servers(arm: str, environment: Mapping[str, str], words: str) -> None:
    """Servers that do not answer end the command with one line and exit code 2."""
    code, output, errors = await loadtest("run", "--arm", arm, "--scenario", "single", environment=environment)
    assert (code, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


async def test_missing_schema(stack: RunningStack) -> None:
    """A database without our tables ends the command with one line and exit code 2."""
    environment = {**stack.environment, "DELEGATOR_DATABASE_URL": stack.postgres.url("postgres")}
    code, _, errors = await loadtest("run", "--arm", "delegated", "--scenario", "single", environment=environment)
    assert code == 2
    assert "run `delegator migrate`" in errors
    assert errors.count("\n") == 1


@pytest.fixture
async def nothing_open(temporal_of_stack: Client) -> AsyncIterator[None]:
    """Terminate the workflows that a killed run left open."""
    yield
    async for execution in temporal_of_stack.list_workflows("ExecutionStatus = 'Running'"):
        await temporal_of_stack.get_workflow_handle(execution.id).terminate()


@pytest.mark.usefixtures("nothing_open")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_no_process_is_left_behind(stack: RunningStack, temporal_of_stack: Client, how: signal.Signals) -> None:
    """A run that ends early ends its worker processes, even if it is killed."""
    before = (await temporal_of_stack.count_workflows()).count
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", "run", "--arm", "classic", "--scenario", "single"),
        *("--workflows", "1000000", "--shared"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **stack.environment},
    )
    async with asyncio.timeout(120):
        # The warm-up has 20 workflows: with more the run itself has begun.
        while (await temporal_of_stack.count_workflows()).count <= before + 20:
            assert process.returncode is None
            await asyncio.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(how)
        _, errors = await process.communicate()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=60)
    assert not alive
    if how is not signal.SIGKILL:
        assert (process.returncode, errors.decode()) == (130, "")
