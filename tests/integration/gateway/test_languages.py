"""Workers in Go and Java, and a workflow whose jobs run in several languages."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from temporalio.converter import DefaultPayloadConverter

from delegator.contracts.json_schema import describe_types
from delegator.gateway.conformance.run import check_worker
from delegator.runtime.modules import load_types
from tests.integration.delegator.environment import ROOT, Environment
from tests.integration.gateway.language_flows import Languages
from tests.integration.gateway.support import Caller, RunningGateway, running_gateway

_WORKERS = ROOT / "examples/workers"
_LONGEST = 150
_TESTS = "tests.integration.delegator"
_FEW = ("echo", "failure", "details", "cancellation", "stop")
"""Those that differ most between languages. All checks take half a minute for each worker."""
_GSON = "com.google.code.gson:gson:2.14.0"


@pytest.fixture(scope="module")
def go_worker(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the worker in Go."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    program = tmp_path_factory.mktemp("go") / "worker"
    folder = _WORKERS / "go"
    built = subprocess.run(["go", "build", "-o", program, "worker.go"], cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return [str(program)]


@pytest.fixture(scope="module")
def java_worker() -> list[str]:
    """The command of the worker in Java."""
    if shutil.which("javac") is None:
        pytest.skip("needs a JDK")
    group, name, version = _GSON.split(":")
    jar = Path.home() / ".m2/repository" / group.replace(".", "/") / name / version / f"{name}-{version}.jar"
    if not jar.exists():
        pytest.skip(f"needs Gson: mvn dependency:get -Dartifact={_GSON}")
    return ["java", "-cp", str(jar), str(_WORKERS / "java/Worker.java")]


async def test_go(engine: Environment, gateway: RunningGateway, go_worker: list[str]) -> None:
    """The worker in Go does what the protocol asks for, in less than 150 lines."""
    await _conforms(engine, gateway, go_worker, "go/worker.go")


async def test_java(engine: Environment, gateway: RunningGateway, java_worker: list[str]) -> None:
    """The worker in Java does so, too."""
    await _conforms(engine, gateway, java_worker, "java/Worker.java")


async def _conforms(engine: Environment, gateway: RunningGateway, command: Sequence[str], source: str) -> None:
    assert len((_WORKERS / source).read_text().splitlines()) < _LONGEST
    found = await check_worker(gateway.url, command, engine.settings, "default", only=_FEW)
    assert found == dict.fromkeys(_FEW)


async def test_workflow(engine: Environment, gateway: RunningGateway, go_worker: list[str], tmp_path: Path) -> None:
    """A workflow gets typed results and failures from a worker in Go and from one in shell, each with its own types."""
    if shutil.which("jq") is None:
        pytest.skip("needs jq")
    shell = tmp_path / "worker.sh"
    shell.write_text((_WORKERS / "shell/worker.sh").read_text().replace("conformance.", "shell."))
    async with (
        engine.worker(workflows=[Languages]) as task_queue,
        _running(go_worker, gateway.url),
        _running(["bash", str(shell)], gateway.url),
    ):
        handle = await engine.start(Languages.run, task_queue=task_queue)
        assert await engine.result(handle) == [
            True,
            {"number": 42, "words": ["é", "'$x'"]},
            *(["Declined", f"no € in {one}", [{"code": 51}], True] for one in ("conformance", "shell")),
        ]


async def test_types(gateway_engine: Environment, tmp_path: Path) -> None:
    """A worker gets the schemas of the declared types that its token is for."""
    tokens = tmp_path / "tokens"
    tokens.write_text("all-of-it-12345\nsome-types-12345 types=in_*\n")
    described = describe_types(load_types([f"{_TESTS}.queued_tasks", f"{_TESTS}.failing"]), DefaultPayloadConverter)
    schemas = tuple(described.schemas.values())
    async with (
        running_gateway(gateway_engine, token_file=tokens, types=schemas) as gateway,
        aiohttp.ClientSession() as session,
    ):
        able, limited = (Caller(session, gateway.url, f"{name}-12345") for name in ("all-of-it", "some-types"))
        replies = [await able.post("types"), await able.post("types", queue="other"), await limited.post("types")]
    every, of_queue, of_token = (reply.body["types"] for reply in replies)
    assert every == [schema.document() for schema in schemas]
    assert len(every) > 1
    assert of_queue == of_token == [schema.document() for schema in schemas if schema.name == "in_other_queue"]


@asynccontextmanager
async def _running(command: Sequence[str], url: str) -> AsyncIterator[None]:
    variables = {"GATEWAY_URL": url, "GATEWAY_QUEUE": "default", "GATEWAY_TOKEN": ""}
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **variables})
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
