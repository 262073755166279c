"""The run watch asks a real Temporal which runs have closed, and acts only on what it knows."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from temporalio.client import Client

from delegator import Settings
from delegator.maintenance import service
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.run_watch import RunWatch, RunWatchOptions
from delegator.maintenance.service import ServeOptions, serve
from delegator.postgres import leases
from delegator.postgres.connections import Connection, Pool
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.support import Database
from tests.support.watches import database_watch

TABLE = QueueTable("default")


def watch(pool: Pool, client: Client) -> RunWatch:
    return RunWatch(
        ["default"],
        pool=pool,
        database=database_watch(Settings.load(database_url=SecretStr(pool.conninfo))),
        client=client,
        metrics=MaintenanceMetrics(CollectorRegistry()),
        options=RunWatchOptions(age=timedelta(0)),
    )


async def add(db: Connection, client: Client, job_id: str, workflow_id: str, run_id: str, **job: Any) -> None:
    row = NewJob(job_id, "t", None, None, None, workflow_id, run_id, None, None, None)
    await TABLE.insert(db, client.namespace, [row._replace(**job)])


async def left(db: Connection) -> set[str]:
    return {row[0] for row in await (await db.execute("SELECT job_id FROM custom_task_queue")).fetchall()}


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            pass


async def start(client: Client) -> tuple[str, str]:
    """Start a workflow that no worker takes; its id, and its run's."""
    workflow_id = f"watched-{uuid.uuid4()}"
    handle = await client.start_workflow("Nobody", id=workflow_id, task_queue=workflow_id)
    return workflow_id, handle.first_execution_run_id or ""


async def test_another_temporal(
    pool: Pool, db: Connection, temporal_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """If Temporal knows no run at all, it may be the wrong one: no job is removed. If it knows one, a run is gone."""
    await add(db, temporal_client, "gone", "w", str(uuid.uuid4()))
    one = watch(pool, temporal_client)
    for _ in range(2):
        await one.look()
    assert await left(db) == {"gone"}
    (line,) = [vars(record) for record in caplog.records if record.getMessage() == "runs_unknown"]
    assert "TEMPORAL_ADDRESS" in line["reason"]
    await add(db, temporal_client, "open", *await start(temporal_client))
    await one.look()
    assert await left(db) == {"open"}


async def test_all_jobs_of_a_run(pool: Pool, db: Connection, temporal_client: Client) -> None:
    """Waiting jobs and those of activity tasks are removed, a running one is told to stop; other runs keep theirs."""
    closed, other = await start(temporal_client), await start(temporal_client)
    await add(db, temporal_client, "waiting", *closed)
    await add(db, temporal_client, "task", *closed, task_token=b"token")
    await add(db, temporal_client, "running", *closed)
    await add(db, temporal_client, "other", *other)
    plain = NewJob("plain", "t", None, None, None, None, None, None, None, None)
    await TABLE.insert(db, None, [plain])
    lease = await leases.grant(db, "worker", "test", "default", timedelta(minutes=1))
    await TABLE.claim(db, [("running", 0)], lease)
    one = watch(pool, temporal_client)
    await one.look()
    assert await left(db) == {"waiting", "task", "running", "other", "plain"}
    await temporal_client.get_workflow_handle(closed[0]).terminate()

    async def is_ended() -> bool:
        await one.look()
        return await left(db) == {"running", "other", "plain"}

    await eventually(is_ended)
    rows = await (await db.execute("SELECT job_id FROM custom_task_queue WHERE cancel_requested")).fetchall()
    assert rows == [("running",)]


@pytest.mark.parametrize("outlives", [True, False])
async def test_jobs_may_outlive_their_run(database: Database, monkeypatch: pytest.MonkeyPatch, outlives: bool) -> None:
    """`delegator serve` watches runs unless DELEGATOR_JOBS_OUTLIVE_RUNS is on."""

    class MadeError(Exception):
        pass

    def made(*_: object, **given: object) -> None:
        raise MadeError(given["run_watch"] is None)

    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DELEGATOR_JOBS_OUTLIVE_RUNS", "on" if outlives else "off")
    monkeypatch.setattr(service, "Sweeper", made)
    with pytest.raises(MadeError) as raised:
        await serve(ServeOptions(), Settings.load(database_url=SecretStr(database.url)))
    assert raised.value.args == (outlives,)
