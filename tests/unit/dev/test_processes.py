import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from delegator.dev.processes import Child, Command


def _python(code: str, log: Path) -> Command:
    return Command((sys.executable, "-u", "-c", code), log, dict(os.environ))


async def _logged(child: Child, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in child.tail():
            await asyncio.sleep(0.01)


async def test_log_tail(tmp_path: Path) -> None:
    """The tail of the log holds lines of this run only."""
    log = tmp_path / "log"
    log.write_text("an older run\n")
    child = await Child.spawn(_python("for i in range(100): print('line', i)", log))
    assert await child.wait() == 0
    assert child.tail(2) == "line 98\nline 99"
    assert "older" not in child.tail(1000)


async def test_stubborn_child(tmp_path: Path) -> None:
    """A child process that ignores the signal is killed after the grace period."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    child = await Child.spawn(_python(code, tmp_path / "log"))
    await _logged(child, "up")
    assert await child.stop(signal.SIGTERM, grace_seconds=0.1) == -signal.SIGKILL


async def test_grandchildren(tmp_path: Path) -> None:
    """The processes that a child has started end with it."""
    code = "import subprocess; p = subprocess.Popen(['sleep', '600']); print('pid', p.pid, flush=True); p.wait()"
    child = await Child.spawn(_python(code, tmp_path / "log"))
    await _logged(child, "pid")
    grandchild = int(child.tail().split()[1])
    await child.stop(signal.SIGTERM, grace_seconds=5)
    async with asyncio.timeout(60):
        while _runs(grandchild):
            await asyncio.sleep(0.01)


async def test_a_cancelled_stop_leaves_nothing(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    child = await Child.spawn(_python(code, tmp_path / "log"))
    await _logged(child, "up")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await child.stop(signal.SIGTERM, grace_seconds=30)
    async with asyncio.timeout(60):
        assert await child.wait() == -signal.SIGKILL


async def test_a_missing_program_says_so(tmp_path: Path) -> None:
    child = await Child.spawn(Command(("/nonexistent/program",), tmp_path / "log", {}))
    assert await child.wait() == 1
    assert child.tail() == "can't run /nonexistent/program: No such file or directory"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_files_of_children_are_private(tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """What a child process creates is for its user only, whichever event loop started it."""

    async def create() -> int:
        child = await Child.spawn(_python(f"open({str(tmp_path / 'file')!r}, 'w')", tmp_path / "log"))
        return await child.wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(create()) == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
