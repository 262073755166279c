"""Data converters that depend on serialization contexts, and external storage, at every place where payloads pass."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.delegator import flows
from tests.integration.delegator.bound_converters import STORAGE_VARIABLE
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment
from tests.integration.delegator.test_failures import failed_task

CONVERTERS = "tests.integration.delegator.bound_converters"
LARGE = 3 * 1024 * 1024
WAYS = ["inline", "signal", "activity worker"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Path]:
    """Where payloads are stored, by all processes."""
    with tempfile.TemporaryDirectory(prefix="delegator-test-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(STORAGE_VARIABLE, folder)
        yield Path(folder)


@pytest.fixture(scope="module")
async def bound_engine(start_engine: StartEngine, storage: Path) -> AsyncIterator[Environment]:
    async with start_engine(data_converter=f"{CONVERTERS}:bound") as engine:
        yield engine
        await engine.nothing_left()


@pytest.fixture(scope="module")
async def storing_engine(start_engine: StartEngine, storage: Path) -> AsyncIterator[Environment]:
    async with start_engine(data_converter=f"{CONVERTERS}:stored") as engine:
        yield engine
        await engine.nothing_left()


@asynccontextmanager
async def queue_of(engine: Environment, way: str) -> AsyncIterator[str]:
    if way == "activity worker":
        async with engine.activity_worker() as task_queue:
            yield task_queue
    else:
        options = PATIENT if way == "inline" else SIGNALLED
        async with engine.worker(options, intercept=True) as task_queue:
            yield task_queue


@pytest.mark.parametrize("way", WAYS)
async def test_contexts(bound_engine: Environment, way: str):
    """Arguments, heartbeats, results and failures are read for whom they were written, also across a retry."""
    engine = bound_engine
    async with queue_of(engine, way) as task_queue:
        arguments = ("execute_activity", "secret_retry", ["a"])
        assert await engine.execute(flows.CallsOne.run, *arguments, {}, task_queue=task_queue) == "a and ['a']"
        failure = await engine.execute(flows.Fails.run, *arguments, 1, [], task_queue=task_queue)
        assert (failure["cause_message"], failure["details"]) == ("can't use a", ["a"])


@pytest.mark.parametrize("way", ["inline", "activity worker"])
async def test_large_payloads(storing_engine: Environment, way: str, storage: Path):
    """Payloads beyond Temporal's limit go through the external storage, for the workflow."""
    async with queue_of(storing_engine, way) as task_queue:
        handle = await storing_engine.start(flows.Large.run, "execute_activity", LARGE, task_queue=task_queue)
        assert await storing_engine.result(handle) == LARGE
    noted = [json.loads(line) for line in (storage / "targets").read_text().splitlines()]
    ours = [target for target in noted if target["id"] == handle.id]
    assert {target["kind"] for target in ours} == {"StorageDriverWorkflowInfo"}
    assert len(ours) >= 2


async def test_storage_fails(storing_engine: Environment, storage: Path):
    """While nothing can be stored, workflow tasks fail in words, and so do attempts. All goes on afterwards."""
    engine, fails = storing_engine, storage / "storage-fails"
    async with engine.worker(SIGNALLED, intercept=True) as task_queue:
        fails.touch()
        try:
            result = await engine.start(
                flows.CallsOne.run, "delegate", "large_result", [10_000], {"attempts": 1}, task_queue=task_queue
            )
            argument = await engine.start(flows.Large.run, "delegate", 10_000, task_queue=task_queue)
            for handle in (result, argument):
                assert "the storage is full" in await failed_task(handle)
        finally:
            fails.unlink()
        failure = await engine.result(result)
        assert (failure["type"], failure["cause_message"]) == ("OSError", "the storage is full")
        assert await engine.result(argument) == 10_000
