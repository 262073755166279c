"""A maintenance process in this event loop, a Temporal worker, and connections of an application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from delegator.dev.temporal import TemporalServer
from delegator.maintenance.service import ServeOptions, serve
from delegator.outbox import Outbox
from tests.integration.outbox.flows import Echo, Mailbox, Single
from tests.support import Database

TASK_QUEUE = "outbox"


@pytest.fixture(scope="module")
def temporal_address(temporal: TemporalServer) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPORAL_ADDRESS", temporal.address)
        yield temporal.address


@pytest.fixture(scope="module")
async def serving(module_database: Database, temporal_address: str) -> AsyncIterator[Database]:
    """The database of a running maintenance process."""
    task = asyncio.create_task(serve(ServeOptions(), module_database.settings))
    try:
        yield module_database
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(scope="module")
async def worker(temporal_client: Client) -> AsyncIterator[None]:
    """Runs the workflows."""
    async with Worker(
        temporal_client,
        task_queue=TASK_QUEUE,
        workflows=[Echo, Mailbox, Single],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


@pytest.fixture(scope="module")
def outbox(module_database: Database) -> Outbox:
    return Outbox(module_database.settings)


@pytest.fixture
async def db(module_database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    """An application's connection."""
    async with await psycopg.AsyncConnection.connect(module_database.url) as connection:
        yield connection
