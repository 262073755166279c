"""An engine whose jobs are run over HTTP only."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator.environment import Environment, environment
from tests.integration.gateway import gateway_flows
from tests.integration.gateway.support import Caller, RunningGateway, running_gateway
from tests.support import Databases


@pytest.fixture(scope="session")
async def gateway_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, queues=("default", "other"), http_worker=False) as engine:
        yield engine


@pytest.fixture
async def engine(gateway_engine: Environment) -> AsyncIterator[Environment]:
    """The shared engine; nothing may be left in its table when the test ends."""
    yield gateway_engine
    await gateway_engine.nothing_left()


@pytest.fixture(scope="session")
async def task_queue(gateway_engine: Environment) -> AsyncIterator[str]:
    async with gateway_engine.worker(workflows=gateway_flows.ALL) as name:
        yield name


@pytest.fixture(scope="session")
async def gateway(gateway_engine: Environment) -> AsyncIterator[RunningGateway]:
    async with running_gateway(gateway_engine) as running:
        yield running


@pytest.fixture
async def caller(gateway: RunningGateway) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(session, gateway.url)
