"""Engines for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator import tasks
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment, environment
from tests.integration.delegator.in_memory import in_memory_environment
from tests.support.session_logs import shared

StartEngine = Callable[..., AbstractAsyncContextManager[Environment]]
_IN_MEMORY = "in memory"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what can't be seen of the engine in memory."""

    def is_wanted(item: pytest.Item) -> bool:
        engine = item.callspec.params.get("start_engine") if hasattr(item, "callspec") else None
        return engine != _IN_MEMORY or item.get_closest_marker("postgres_only") is None

    items[:] = [item for item in items if is_wanted(item)]


@pytest.fixture(scope="session", autouse=True)
def directory_of_handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where handlers in this process write and look. It outlives every engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(tasks.DIRECTORY_VARIABLE, str(tmp_path_factory.mktemp("handlers")))
        yield


@pytest.fixture(scope="session", params=["postgres", _IN_MEMORY])
def start_engine(request: pytest.FixtureRequest, temporal: TemporalServer) -> StartEngine:
    """Starts an engine: a whole one, or that of `delegator.testing`, which must not drift from it."""
    if request.param == _IN_MEMORY:
        return partial(in_memory_environment, temporal)
    return partial(environment, request.getfixturevalue("databases"), temporal)


@pytest.fixture(scope="session")
async def shared_engine(start_engine: StartEngine) -> AsyncIterator[Environment]:
    async with shared(start_engine()) as engine:
        yield engine


@pytest.fixture(scope="module")
async def idle_engine(start_engine: StartEngine) -> AsyncIterator[Environment]:
    """An engine without a single HTTP worker: every job waits."""
    async with start_engine(http_worker=False) as engine:
        yield engine


@pytest.fixture
async def engine(shared_engine: Environment) -> AsyncIterator[Environment]:
    """The shared engine; nothing may be left in its table when the test ends."""
    yield shared_engine
    await shared_engine.nothing_left()


@pytest.fixture(scope="session")
async def inline_queue(shared_engine: Environment) -> AsyncIterator[str]:
    """The task queue of a worker that waits inline, and intercepts. It has the SDK's own sandbox."""
    runner = SandboxedWorkflowRunner()
    async with shared(shared_engine.worker(PATIENT, intercept=True, workflow_runner=runner)) as task_queue:
        yield task_queue


@pytest.fixture(scope="session")
async def signal_queue(shared_engine: Environment) -> AsyncIterator[str]:
    """The task queue of a worker that never waits inline, and intercepts."""
    async with shared(shared_engine.worker(SIGNALLED, intercept=True)) as task_queue:
        yield task_queue


@pytest.fixture(scope="session")
async def activity_queue(shared_engine: Environment) -> AsyncIterator[str]:
    """A task queue whose activity tasks are delegated by the activity worker."""
    async with shared(shared_engine.activity_worker()) as task_queue:
        yield task_queue
