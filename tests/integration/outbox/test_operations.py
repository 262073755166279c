"""Operations that were committed reach Temporal, each once and in order; those that were rolled back never do."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from temporalio.client import Client

from delegator.outbox import Outbox
from tests.integration.outbox.conftest import TASK_QUEUE
from tests.integration.outbox.flows import Echo
from tests.integration.outbox.support import result

pytestmark = pytest.mark.usefixtures("serving", "worker")


async def test_start(outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client) -> None:
    """A workflow starts when the application's transaction commits."""
    name = f"echo-{uuid.uuid4()}"
    async with db.transaction():
        assert await outbox.aio.start_workflow(db, Echo.run, "a", 3, id=name, task_queue=TASK_QUEUE)
    assert await result(temporal_client, name) == ["a", 3]
