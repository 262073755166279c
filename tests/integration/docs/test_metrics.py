"""The metrics page has every series that real processes expose."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import aiohttp
import pytest
from docs_reference.metrics import all_series
from prometheus_client.parser import text_string_to_metric_families

from delegator.dev import RunningStack, ports

_FAMILY = re.compile(r"^# TYPE (delegator_\w+) (\w+)$", re.MULTILINE)


async def exposed_text(url: str, holding: str = "") -> str:
    """Return what a process exposes, once it answers and the text holds a string."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(url) as answer:
                    text = await answer.text()
                if holding in text:
                    return text
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def families(url: str) -> dict[str, str]:
    """Return the engine's families that a process exposes once it answers: name and type."""
    return dict(_FAMILY.findall(await exposed_text(url)))


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


async def test_labels_of_several_processes(
    tmp_path: Path, stack: RunningStack, stack_environment: dict[str, str]
) -> None:
    """`http-worker --processes 2`: each series has the labels of the page, `process` only where the page says so."""
    (tmp_path / "documented_tasks.py").write_text(
        "from delegator import delegated\n\n\n@delegated()\nasync def task() -> None: ...\n"
    )
    port = ports.reserve()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "http_workers", "--import", "documented_tasks", "--processes", "2"),
        *("--port", str(port.number)),
        cwd=tmp_path,
        env=stack_environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port.number}/metrics"
        text = await exposed_text(url, holding='delegator_worker_slots{process="1"}')
    finally:
        process.terminate()
        await process.wait()
        port.release()
    described = {
        series.name.removesuffix("_total"): {*series.labels, *(["process"] if series.per_process else [])}
        for series in all_series()
    }
    seen = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if family.name.startswith("delegator_") and not family.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == described[family.name], sample
                seen += 1
    assert seen > 5


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
