"""A Prometheus scrapes a real run, and answers each expression of the dashboard and of the alerts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from temporalio.client import Client

from delegator.dev import RunningStack, ports

DOCKER = Path(__file__).parents[3] / "docker"
CODE = """
    import asyncio
    from datetime import timedelta

    from temporalio import workflow
    from temporalio.common import RetryPolicy

    from delegator import current_job, delegate, delegate_map, delegated


    @delegated(name="watched_quick")
    async def quick(number: int) -> int:
        return number


    @delegated(name="watched_flaky", retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)))
    async def flaky() -> int:
        if current_job().attempt == 1:
            raise RuntimeError("once")
        return 1


    @delegated(name="watched_slow", inline_wait=timedelta(0))
    async def slow() -> int:
        return 1


    @workflow.defn
    class Watched:
        @workflow.run
        async def run(self) -> int:
            numbers = await delegate_map(quick, range(5))
            return sum(numbers) + await delegate(flaky) + await delegate(slow)
"""


@pytest.fixture
def prometheus_program() -> str:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs Prometheus (Debian: apt-get install prometheus)")
    return program


@asynccontextmanager
async def running(*words: str, name: str, cwd: Path, env: dict[str, str]) -> AsyncIterator[None]:
    """A process that is gone afterwards. It writes into a file."""
    with (cwd / f"{name}.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(*words, cwd=cwd, env=env, stdout=log, stderr=log)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def ask(session: aiohttp.ClientSession, url: str, **parameters: str) -> Any:
    """What an address answers with status 200; None: it does not answer so."""
    try:
        async with session.get(url, params=parameters) as answer:
            return await answer.json() if answer.status == 200 else None
    except aiohttp.ClientConnectionError:
        return None


def expressions_of_panels() -> dict[str, str]:
    """The dashboard's expressions, each with the title of its panel."""
    dashboard = json.loads((DOCKER / "grafana/dashboards/delegator.json").read_text())
    return {target["expr"]: panel["title"] for panel in dashboard["panels"] for target in panel.get("targets", [])}


@asynccontextmanager
async def limited(seconds: float, missing: dict[str, str]) -> AsyncIterator[None]:
    """Give up after a time, and say which expressions had no answer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        pytest.fail(f"without an answer: {missing}")


async def test_every_expression(
    prometheus_program: str, tmp_path: Path, stack: RunningStack, stack_environment: dict[str, str]
) -> None:
    """Each panel has data, and each alert is understood.

    None is true, but for jobs that fail here once, and for jobs that other tests may have left in the stack.
    """
    (tmp_path / "watched_code.py").write_text(textwrap.dedent(CODE))
    reserved = {name: ports.reserve() for name in ("http-worker", "worker", "prometheus")}
    at = {name: f"127.0.0.1:{port.number}" for name, port in reserved.items()}
    targets = {name: url.removeprefix("http://") for name, url in stack.program_urls.items()}
    targets |= {name: at[name] for name in ("http-worker", "worker")}
    (tmp_path / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                "scrape_configs": [
                    {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
                ],
            }
        )
    )
    programs = {
        "http-worker": ("-m", "http_workers", "--import", "watched_code"),
        "worker": ("-m", "delegator", "worker", "--import", "watched_code", "--task-queue", "watched"),
    }
    panels = expressions_of_panels()
    rules = yaml.safe_load((DOCKER / "prometheus/rules.yaml").read_text())["groups"][0]["rules"]
    try:
        async with AsyncExitStack() as exits:
            session = await exits.enter_async_context(aiohttp.ClientSession())
            for name, words in programs.items():
                port = str(reserved[name].number)
                await exits.enter_async_context(
                    running(sys.executable, *words, "--port", port, name=name, cwd=tmp_path, env=stack_environment)
                )
            await exits.enter_async_context(
                running(
                    *(prometheus_program, "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
                    f"--web.listen-address={at['prometheus']}",
                    name="prometheus",
                    cwd=tmp_path,
                    env=dict(os.environ),
                )
            )
            query = f"http://{at['prometheus']}/api/v1/query"
            client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"])
            missing = dict(panels)
            async with limited(60, missing):
                for name in programs:
                    while await ask(session, f"http://{at[name]}/readyz") is None:
                        await asyncio.sleep(0.1)
                number = 0
                while missing:
                    number += 1
                    result = await client.execute_workflow("Watched", id=f"watched-{number}", task_queue="watched")
                    assert result == 12
                    for expression in list(missing):
                        answer = await ask(session, query, query=expression)
                        if answer is not None and answer["data"]["result"]:
                            del missing[expression]
            fired = {}
            for rule in rules:
                answer = await ask(session, query, query=rule["expr"])
                assert answer is not None, rule["alert"]
                if answer["data"]["result"]:
                    fired[rule["alert"]] = answer["data"]["result"]
            assert fired.keys() <= {"DelegatorJobsFail", "DelegatorJobsWait"}, fired
    finally:
        for port in reserved.values():
            port.release()
    assert panels
