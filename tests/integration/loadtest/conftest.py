"""An embedded stack for this folder only: the load test refuses servers that have other work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from delegator.dev import RunningStack, StackOptions, embedded_stack
from loadtest.meters.statements import SETTINGS


@pytest.fixture(scope="package")
async def stack() -> AsyncIterator[RunningStack]:
    # A short list of statements, so that a test can fill it.
    settings = {**SETTINGS, "pg_stat_statements.max": "500"}
    async with embedded_stack(StackOptions(usual_ports=False, headless=True, postgres_settings=settings)) as running:
        yield running


@pytest.fixture
async def temporal_of_stack(stack: RunningStack) -> Client:
    return await Client.connect(stack.temporal_address, namespace=stack.temporal_namespace)
