"""An embedded stack for this folder only: the load test refuses servers that have other work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from delegator.dev import RunningStack, StackOptions, embedded_stack


@pytest.fixture(scope="package")
async def stack() -> AsyncIterator[RunningStack]:
    async with embedded_stack(StackOptions(usual_ports=False, headless=True)) as running:
        yield running


@pytest.fixture
async def temporal_of_stack(stack: RunningStack) -> Client:
    return await Client.connect(stack.temporal_address, namespace=stack.temporal_namespace)
