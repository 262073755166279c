from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from pathlib import Path

import pytest
from temporalio.worker import Worker

from delegator.dev import RunningStack
from examples.hello import tasks
from examples.hello.__main__ import local_activities
from examples.hello.workflow import Hello, OrdinaryHello
from examples.local import Dispatch, Pool, local_system


@pytest.mark.parametrize("arguments", [(), ("--intercept",)], ids=["delegate", "intercept"])
async def test_command(run_command, arguments: tuple[str, ...], servers: RunningStack) -> None:
    """The command prints the greeting, and how it came about."""
    ended = await run_command("hello", "Ada", *arguments)
    assert ended == (
        0,
        "Hello, Ada!\nproven: the step is one local activity and no scheduled activity\n",
        "",
    )


@pytest.mark.parametrize("dispatch", list(Dispatch))
async def test_history(servers: RunningStack, dispatch: Dispatch) -> None:
    """With classic dispatch the same call is an ordinary activity, and it has the same result."""
    workflow_id = f"hello-{uuid.uuid4()}"
    async with (
        local_system(Pool([tasks]), dispatch=dispatch, intercept=True) as system,
        Worker(system.client, task_queue="default", workflows=[OrdinaryHello]),
    ):
        handle = await system.client.start_workflow(OrdinaryHello.run, "Ada", id=workflow_id, task_queue="default")
        assert await handle.result() == "Hello, Ada!"
        assert await local_activities(handle) == ((1, 0) if dispatch is Dispatch.DELEGATED else (0, 1))


async def test_killed_pool(servers: RunningStack) -> None:
    """A pool that is killed before it took the job: the next pool runs it."""
    workflow_id = f"hello-{uuid.uuid4()}"
    async with (
        local_system(Pool([tasks])) as system,
        Worker(system.client, task_queue=workflow_id, workflows=[Hello]),
    ):
        await system.pools["default"].kill()
        handle = await system.client.start_workflow(Hello.run, "Ada", id=workflow_id, task_queue=workflow_id)
        await system.pools["default"].start()
        assert await handle.result() == "Hello, Ada!"


def children_of(parent: int) -> set[int]:
    tasks = Path(f"/proc/{parent}/task")
    return {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["interrupt", "terminate", "kill"],
)
async def test_nothing_left(servers: RunningStack, how: signal.Signals, code: int, tmp_path: Path) -> None:
    """However the command ends, none of its processes goes on; if it was asked to end, none of its files is left."""
    (tmp_path / "waiting.py").write_text(
        "import asyncio\n"
        "from examples.command import run_example\n"
        "from examples.hello import tasks\n"
        "from examples.local import Pool, local_system\n"
        "async def main():\n"
        "    async with local_system(Pool([tasks], processes=2)) as system:\n"
        "        print(system.directory, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "run_example(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        # A shell starts background jobs, so perhaps these tests, with SIGINT ignored. Children inherit that.
        *("env", "--default-signal=INT", sys.executable, str(tmp_path / "waiting.py")),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdout is not None
    directory = Path((await process.stdout.readline()).decode().strip())
    (pool,) = children_of(process.pid)
    started = {pool, *children_of(pool)}
    assert len(started) == 3
    process.send_signal(how)
    assert await process.wait() == code
    async with asyncio.timeout(20):
        while any(is_running(pid) for pid in started):
            await asyncio.sleep(0.02)
    assert directory.exists() == (how == signal.SIGKILL)
    for leftover in directory.glob("*"):
        leftover.unlink()
