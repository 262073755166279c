"""The code of README.md and docs/ runs as it stands, against the embedded stack."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.pages import Block, blocks, pages

# A client of Temporal's Python SDK sometimes crashes at exit, when its work is done (docs/reference/compatibility.md).
# bash reports a signal as 128 and its number.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT)
_ENDED_WELL = {0, *(-crash for crash in _CRASHES), *(128 + crash for crash in _CRASHES)}
_LIMIT = 120.0
"""Seconds until a block that hangs is a failure; the slowest ends within a few."""
_GRACE = 20.0


def with_code() -> list[list[Block]]:
    found = [blocks(page) for page in pages()]
    return [page for page in found if any(block.is_run or block.is_file for block in page)]


@pytest.mark.parametrize("page", with_code(), ids=lambda page: page[0].page)
async def test_page(page: list[Block], tmp_path: Path, stack_environment: dict[str, str]) -> None:
    """Every block of a page does what the page says, in the order of the page."""
    environment = stack_environment | {
        # The programs of this environment, and no colours.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "NO_COLOR": "1",
    }
    said = ""
    async with AsyncExitStack() as background:
        for block in page:
            if block.is_file:
                (tmp_path / str(block.title)).write_text(block.code, encoding="utf-8")
            elif block.run == "background":
                await background.enter_async_context(_in_background(block, tmp_path, environment))
            elif block.is_run:
                said = await _run(block, tmp_path, environment)
            elif block.is_output:
                assert said == block.code, block.place


async def _run(block: Block, folder: Path, environment: dict[str, str]) -> str:
    if block.language == "sql":
        async with (
            await psycopg.AsyncConnection.connect(environment["DELEGATOR_DATABASE_URL"]) as connection,
            connection.transaction(force_rollback=True),
        ):
            await connection.execute(block.code.encode())
        return ""
    if block.language == "python":
        (folder / "block.py").write_text(block.code, encoding="utf-8")
        command = [sys.executable, "block.py"]
    else:
        command = ["bash", "-euc", block.code]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_LIMIT):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    said = output.decode()
    assert process.returncode in _ENDED_WELL, (
        f"{block.place}: exit code {process.returncode}\n{said}\n{errors.decode()}"
    )
    return said


@asynccontextmanager
async def _in_background(block: Block, folder: Path, environment: dict[str, str]) -> AsyncIterator[None]:
    """Run a block's server, and assert that it ran until it was asked to stop."""
    with (folder / f"background-{block.line}.log").open("w+") as log:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", f"exec {block.code}"),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
            log.seek(0)
            assert process.returncode is None, f"{block.place} ended by itself:\n{log.read()}"
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(_GRACE):
                        await process.wait()
                finally:
                    if process.returncode is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        await process.wait()
