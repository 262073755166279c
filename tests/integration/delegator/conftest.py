"""Engines for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment, environment
from tests.support import Databases


@pytest.fixture(scope="session")
async def shared_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal) as engine:
        yield engine


@pytest.fixture
async def engine(shared_engine: Environment) -> AsyncIterator[Environment]:
    """The shared engine; nothing may be left in its table when the test ends."""
    yield shared_engine
    await shared_engine.nothing_left()


@pytest.fixture(scope="session")
async def inline_queue(shared_engine: Environment) -> AsyncIterator[str]:
    """The task queue of a worker that waits inline, and intercepts."""
    async with shared_engine.worker(PATIENT, intercept=True) as task_queue:
        yield task_queue


@pytest.fixture(scope="session")
async def signal_queue(shared_engine: Environment) -> AsyncIterator[str]:
    """The task queue of a worker that never waits inline, and intercepts."""
    async with shared_engine.worker(SIGNALLED, intercept=True) as task_queue:
        yield task_queue


@pytest.fixture(scope="session")
async def activity_queue(shared_engine: Environment) -> AsyncIterator[str]:
    """A task queue whose activity tasks are delegated by the activity worker."""
    async with shared_engine.activity_worker() as task_queue:
        yield task_queue
