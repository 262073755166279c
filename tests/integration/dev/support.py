"""Running `delegator dev` and looking at what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from delegator.dev.processes import Account

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Dev:
    """A running `delegator dev --json`."""

    process: asyncio.subprocess.Process
    report: dict[str, Any]
    """What it printed."""

    def family(self) -> list[psutil.Process]:
        """Everything it started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    async def end(self, number: int) -> tuple[int, str]:
        """Send a signal, and return the exit code and what was written to stderr."""
        self.process.send_signal(number)
        return await self.wait()

    async def wait(self) -> tuple[int, str]:
        async with asyncio.timeout(60):
            _, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


@asynccontextmanager
async def delegator_dev(
    *arguments: str,
    python: Path | str = sys.executable,
    user: Account | None = None,
    environment: Mapping[str, str] | None = None,
    headless: bool = True,
) -> AsyncIterator[Dev]:
    identity = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-m",
        "delegator",
        "dev",
        "--json",
        *(["--headless"] if headless else []),
        *arguments,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **identity,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        yield Dev(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def assert_gone(processes: list[psutil.Process], within: float = 60) -> None:
    assert processes
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, within)
    assert alive == []
