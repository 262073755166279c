"""Two Temporal clusters on one database: the second one's processes do not start, because outcomes would be lost."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.worker import Worker

from delegator import DelegatorPlugin
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.errors import ConfigurationError
from delegator.maintenance.service import ServeOptions, serve
from delegator.postgres.lease_keeper import LeaseKeeper
from http_workers import HttpWorker
from tests.integration.delegator import flows, tasks
from tests.integration.delegator.environment import Environment, environment
from tests.support import Databases

LEASE = timedelta(seconds=30)


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def enqueuer(engine: Environment) -> None:
    plugin = DelegatorPlugin([tasks], settings=engine.settings)
    await Worker(engine.client, task_queue="two", workflows=[flows.Fails], plugins=[plugin]).run()


async def http_worker(engine: Environment) -> None:
    await HttpWorker([tasks], queue="default", client=engine.client, settings=engine.settings).run()


async def maintenance(engine: Environment) -> None:
    await serve(ServeOptions(), engine.settings)


@pytest.mark.parametrize("process", [enqueuer, http_worker, maintenance])
async def test_refused(
    engine: Environment, process: Callable[[Environment], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of process is refused, in words, while a process of the other cluster lives."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", engine.variables["TEMPORAL_ADDRESS"])
    monkeypatch.setenv("TEMPORAL_NAMESPACE", NAMESPACE)
    url = engine.settings.database_url.get_secret_value()
    theirs = f"{NAMESPACE}/{uuid.uuid4()}"
    async with LeaseKeeper(url, "enqueuer", duration=LEASE, cluster=theirs):
        with pytest.raises(ConfigurationError, match="two Temporal clusters use this database"):
            await process(engine)


async def test_who_is_no_other(engine: Environment) -> None:
    """Another namespace, a process that does not know its cluster, and one that has ended are no reason."""
    url = engine.settings.database_url.get_secret_value()
    async with LeaseKeeper(url, "worker", duration=LEASE, cluster="a/b/1"):
        for cluster in ("a/b/1", "a/1", "b/2", None):
            async with LeaseKeeper(url, "worker", duration=LEASE, cluster=cluster):
                pass
        with pytest.raises(ConfigurationError, match="id 1"):
            async with LeaseKeeper(url, "worker", duration=LEASE, cluster="a/b/2"):
                pass
    async with LeaseKeeper(url, "worker", duration=LEASE, cluster="a/b/2"):
        pass
