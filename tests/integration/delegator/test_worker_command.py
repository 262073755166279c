"""`delegator worker` runs a Temporal worker as a process like the others."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from delegator import connect, existing_activities
from delegator.dev.temporal import TemporalServer
from http_workers import HttpWorker
from tests.integration.delegator import front_flows as flows
from tests.integration.delegator import front_tasks as tasks
from tests.integration.delegator.environment import RESULT_TIMEOUT, ROOT, Environment, environment, eventually
from tests.support import Databases

FLOWS = "tests.integration.delegator.front_flows"
TASKS = "tests.integration.delegator.front_tasks"


@pytest.fixture(scope="module")
async def bare_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


@pytest.fixture(autouse=True)
def settings_in_environment(bare_engine: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bare_engine.variables.items():
        if name.startswith(("DELEGATOR_", "TEMPORAL_")):
            monkeypatch.setenv(name, value)


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


def two_free_ports() -> int:
    """Return a free port whose next one is free, too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free, suppress(OSError, OverflowError):
            number: int = free.getsockname()[1]
            with socket.create_server(("127.0.0.1", number + 1)):
                return number


@dataclass(frozen=True)
class Program:
    process: asyncio.subprocess.Process
    log: Path

    async def says(self, event: str) -> None:
        async def look() -> bool:
            assert self.process.returncode is None, self.log.read_text()
            return event in self.log.read_text()

        await eventually(look)

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def program(
    directory: Path, *arguments: str, command: str = "worker", **variables: str
) -> AsyncIterator[Program]:
    log = directory / "worker.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "delegator", command, *arguments),
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=output,
            stderr=output,
        )
    try:
        yield Program(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def result_of(run: Any, task_queue: str, *args: Any) -> Any:
    client = await connect()
    return await client.execute_workflow(
        run,
        args=args,
        id=f"command-{uuid.uuid4()}",
        task_queue=task_queue,
        execution_timeout=timedelta(seconds=RESULT_TIMEOUT),
    )


async def test_metrics_of_pool(bare_engine: Environment) -> None:
    """Each process of a pool serves the metrics of the SDK at a port of its own."""
    first = two_free_ports()

    async def serves(port: int) -> bool:
        with suppress(aiohttp.ClientConnectorError):  # the second process has not begun
            return "temporal_" in (await ask(port, "/metrics"))[1]
        return False

    async with bare_engine.http_worker("--processes", "2", "--sdk-port", str(first)):
        for port in (first, first + 1):
            await eventually(partial(serves, port))


async def test_worker(bare_engine: Environment, tmp_path: Path, port: int) -> None:
    """`delegator worker` runs workflows, answers health checks and metrics, and stops at SIGTERM."""
    task_queue = f"queue-{uuid.uuid4()}"
    sdk_port = free_port()
    ports = ("--port", str(port), "--sdk-port", str(sdk_port))
    arguments = ("--import", FLOWS, "--task-queue", task_queue, *ports, "--log-format", "json")
    async with HttpWorker([tasks, tasks.Emails("me")]), program(tmp_path, *arguments) as worker:
        await worker.says("worker_started")
        assert (await result_of(flows.EveryKind.run, task_queue))[0] == "me>youx2"

        async def ready() -> bool:
            return (await ask(port, "/readyz"))[0] == 200

        await eventually(ready)
        assert (await ask(port, "/livez"))[0] == 200
        assert 'delegator_connection_up{dependency="temporal"} 1.0' in (await ask(port, "/metrics"))[1]

        async def counted() -> bool:  # after the server has taken the result
            return "temporal_workflow_completed" in (await ask(sdk_port, "/metrics"))[1]

        await eventually(counted)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ends() == 0
        assert "worker_stopped" in worker.log.read_text()
    await bare_engine.nothing_left()


BLOCKING = """
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow


@activity.defn
async def block(until: str) -> None:
    while not Path(until).exists():
        time.sleep(0.05)


@workflow.defn(sandboxed=False)
class Block:
    @workflow.run
    async def run(self, until: str) -> None:
        await workflow.execute_activity(block, until, start_to_close_timeout=timedelta(minutes=5))
"""


async def test_stall_limit(bare_engine: Environment, tmp_path: Path, port: int) -> None:
    """With --stall-limit 1, /livez fails while an activity blocks the event loop, and succeeds again afterwards."""
    (tmp_path / "blocking.py").write_text(BLOCKING)
    released = tmp_path / "released"
    task_queue = f"queue-{uuid.uuid4()}"
    arguments = ("--import", "blocking", "--task-queue", task_queue, "--port", str(port), "--stall-limit", "1")
    async with program(tmp_path, *arguments, PYTHONPATH=str(tmp_path)) as worker:
        await worker.says("worker_started")

        async def live() -> bool:
            return (await ask(port, "/livez"))[0] == 200

        async def stalled() -> bool:
            status, said = await ask(port, "/livez")
            return status == 503 and "event_loop" in said

        assert await live()
        async with asyncio.TaskGroup() as group:
            group.create_task(result_of("Block", task_queue, str(released)))
            try:
                await eventually(stalled, within=20)  # below the default, which is 30 s
            finally:
                released.touch()
            await eventually(live)


async def test_intercept(bare_engine: Environment, tmp_path: Path) -> None:
    """With --activities alone the worker delegates its workflows' calls of existing activities."""
    task_queue = f"queue-{uuid.uuid4()}"
    arguments = ("--import", FLOWS, "--activities", TASKS, "--task-queue", task_queue)
    async with HttpWorker(existing_activities(tasks)), program(tmp_path, *arguments) as worker:
        await worker.says("worker_started")
        assert (await result_of(flows.Unedited.run, task_queue))[0] == "old_async one"
    await bare_engine.nothing_left()


async def test_serve_activities(bare_engine: Environment, tmp_path: Path) -> None:
    """`delegator serve` runs an activity worker for workflows that know nothing of delegation."""
    task_queue = f"queue-{uuid.uuid4()}"
    arguments = ("--activities", TASKS, "--task-queue", task_queue)
    async with (
        HttpWorker(existing_activities(tasks)),
        Worker(
            bare_engine.client,
            task_queue=task_queue,
            workflows=[flows.Unedited],
            no_remote_activities=True,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
        program(tmp_path, *arguments, command="serve") as serve,
    ):
        await serve.says("activity_worker_started")
        assert (await result_of(flows.Unedited.run, task_queue))[0] == "old_async one"
    await bare_engine.nothing_left()


async def test_undelegated_activities(bare_engine: Environment, tmp_path: Path) -> None:
    """`delegator worker` runs activities itself that are not delegated."""
    task_queue = f"queue-{uuid.uuid4()}"
    async with program(
        tmp_path, "--import", FLOWS, "--import", TASKS, "--intercept", "--task-queue", task_queue
    ) as worker:
        await worker.says("worker_started")
        assert (await result_of(flows.Unedited.run, task_queue))[1] == "old sync two 2"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TEMPORAL_ADRESS": "localhost:7233"}, "TEMPORAL_ADRESS"),
        ({"DELEGATOR_DATA_CONVERTER": "nosuch:converter"}, "DELEGATOR_DATA_CONVERTER"),
    ],
)
async def test_wrong_setting(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    """A wrong setting ends the command with one line and exit code 2; see also `test_startup_faults.py`."""
    async with program(tmp_path, "--import", FLOWS, "--task-queue", "any", **variables) as worker:
        assert await worker.ends() == 2
        *_, last = worker.log.read_text().splitlines()
        assert last.startswith("delegator: ") and said in last
        assert "Traceback" not in worker.log.read_text()
