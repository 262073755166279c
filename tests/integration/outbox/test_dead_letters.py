"""Operations that Temporal refuses for good: dead letters that `delegator dlq` lists, shows, replays and purges."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from delegator.dev.temporal import TemporalServer
from delegator.maintenance.metrics import OutboxMetrics
from delegator.maintenance.outbox import OutboxDispatcher, OutboxOptions
from delegator.outbox import Outbox
from delegator.postgres.connections import DatabaseAddress, connection_pool
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from tests.integration.maintenance.test_dlq import dlq
from tests.integration.outbox.conftest import TASK_QUEUE
from tests.integration.outbox.flows import Mailbox, Single
from tests.integration.outbox.support import eventually, is_empty, result
from tests.support import Database
from tests.support.watches import database_watch

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
async def series(database: Database, temporal_client: Client) -> AsyncIterator[CollectorRegistry]:
    """The series of a dispatcher that waits only a moment for a workflow that Temporal does not know."""
    registry = CollectorRegistry()
    async with connection_pool(database.url, application_name="test", size=3) as pool:
        dispatcher = OutboxDispatcher(
            address=DatabaseAddress.of(database.settings),
            pool=pool,
            database=database_watch(database.settings),
            listener=database_watch(database.settings),
            client=temporal_client,
            temporal=ConnectionState("temporal", ConnectionMetrics(CollectorRegistry())),
            identity="test",
            metrics=OutboxMetrics(registry),
            options=OutboxOptions(not_found_for=timedelta(milliseconds=200)),
        )
        task = asyncio.create_task(dispatcher.run())
        yield registry
        task.cancel()
        await asyncio.wait([task])


async def test_life(
    series: CollectorRegistry, database: Database, temporal: TemporalServer, temporal_client: Client
) -> None:
    """What is not found in time becomes a dead letter; once the workflow exists a replay reaches it."""
    name, lost = f"dead-{uuid.uuid4()}", f"dead-{uuid.uuid4()}"
    outbox = Outbox(database.settings)
    with psycopg.connect(database.url) as db:
        outbox.signal_workflow(db, name, Mailbox.put, 1)
        outbox.signal_with_start_workflow(
            db, Single.run, id=lost, task_queue=TASK_QUEUE, signal=Single.put, signal_args=["secret"],
            run_timeout=timedelta(seconds=-1), key="mine",
        )  # fmt: skip
    await eventually(lambda: is_empty(database.url))
    environment = {"DELEGATOR_DATABASE_URL": database.url}
    _, out, _ = await dlq("list", "--json", **environment)
    letters = {letter["kind"]: letter for letter in json.loads(out)}
    signal, both = letters["signal"], letters["signal_with_start"]
    assert (signal["reason"], signal["error"], signal["queue"]) == ("not_found", "NOT_FOUND", "(outbox)")
    assert (signal["type"], signal["workflow_id"]) == ("put", name)
    assert (both["reason"], both["job_id"], both["type"]) == ("refused", "mine", "Single")
    assert signal["attempt"] > 1
    labels = {"operation": "signal", "reason": "not_found"}
    assert series.get_sample_value("delegator_outbox_dead_letters_total", labels) == 1

    code, out, _ = await dlq("show", both["id"], "--json", **environment)
    assert (code, "secret" in out) == (0, False)
    assert json.loads(out)["options"]["request"]["workflowRunTimeout"] == "-1s"
    _, out, _ = await dlq("show", both["id"], "--json", "--payloads", **environment)
    assert json.loads(out)["signal_input"] == [{"encoding": "json/plain", "value": "secret"}]
    assert await dlq("list", "--kind", "job", **environment) == (0, "", "no dead letters\n")
    code, _, err = await dlq("list", "--kind", "nonsense", **environment)
    assert (code, "--kind nonsense: none of job, start" in err) == (2, True)

    with psycopg.connect(database.url) as db:
        outbox.start_workflow(db, Mailbox.run, id=name, task_queue=TASK_QUEUE)
    await eventually(lambda: is_empty(database.url))
    code, out, _ = await dlq("replay", "--kind", "signal", "--yes", **environment)
    assert (code, out) == (0, "replayed 1 dead letter\n")
    await eventually(lambda: is_empty(database.url))
    assert await dlq("purge", "--all", "--yes", **environment) == (0, "purged 1 dead letter\n", "")
    with psycopg.connect(database.url) as db:
        outbox.signal_workflow(db, name, Mailbox.close)
    assert await result(temporal_client, name) == [1]


async def test_unreadable(series: CollectorRegistry, database: Database) -> None:
    """A row that makes no request becomes a dead letter; one of a newer release waits for a newer process."""
    with psycopg.connect(database.url, autocommit=True) as db:
        db.execute(
            b"INSERT INTO custom_task_outbox (operation, workflow_id, name, options) "
            b"""VALUES ('signal', 'x', 'n', '{"header": 5}'), ('signal', 'y', 'n', '[]')"""
        )
        db.execute(
            b"INSERT INTO custom_task_outbox (operation, workflow_id, name, format_version) "
            b"VALUES ('signal', 'z', 'n', 99)"
        )

        async def are_sorted() -> bool:
            dead = db.execute(b"SELECT reason, error FROM custom_task_dead_letter").fetchall()
            left = db.execute(b"SELECT workflow_id, attempt > 1 FROM custom_task_outbox").fetchall()
            return dead == [("refused", "UnreadableOperation")] * 2 and left == [("z", True)]

        await eventually(are_sorted)
