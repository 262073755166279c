"""The metrics page has every series that real processes expose."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import aiohttp
import pytest
from docs_reference.metrics import all_series

from delegator.dev import RunningStack, ports

_FAMILY = re.compile(r"^# TYPE (delegator_\w+) (\w+)$", re.MULTILINE)


async def families(url: str) -> dict[str, str]:
    """Return the engine's families that a process exposes once it answers: name and type."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(url) as answer:
                    return dict(_FAMILY.findall(await answer.text()))
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("program", ["serve", "http-worker"])
async def test_every_series_is_described(
    program: str, tmp_path: Path, stack: RunningStack, stack_environment: dict[str, str]
) -> None:
    """`delegator serve` and `http-worker`: what they expose is on the page, with its type."""
    (tmp_path / "documented_tasks.py").write_text(
        "from delegator import delegated\n\n\n@delegated()\nasync def task() -> None: ...\n"
    )
    port = ports.reserve()
    arguments = {
        "serve": ("-m", "delegator", "serve"),
        "http-worker": ("-m", "http_workers", "--import", "documented_tasks"),
    }[program]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments, "--port", str(port.number)),
        cwd=tmp_path,
        env=stack_environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert_described(await families(f"http://127.0.0.1:{port.number}/metrics"))
    finally:
        process.terminate()
        await process.wait()
        port.release()


async def test_every_series_of_the_relay_is_described(stack: RunningStack) -> None:
    """The relay's series are on the page, with their types."""
    assert_described(await families(f"{stack.environment['DELEGATOR_STREAM_URL']}/metrics"))


def assert_described(exposed: dict[str, str]) -> None:
    assert exposed
    described = {series.name: series.type for series in all_series()}
    missing = {
        name: kind
        for name, kind in exposed.items()
        if not name.endswith("_created") and kind not in (described.get(name), described.get(f"{name}_total"))
    }
    assert missing == {}
