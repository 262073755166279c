"""Pausing and resuming queues and types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import pytest

from delegator.dev.temporal import TemporalServer
from delegator.postgres import leases, pauses
from delegator.postgres.connections import Connection, connect
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.lease_reports import WorkerReport
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.postgres.queue_pause import PauseStatements
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.integration.delegator.environment import eventually
from tests.integration.operating.commands import delegator
from tests.integration.operating.conftest import Operator, running_operator
from tests.support import Database, Databases

HOUR_MS = 3_600_000
TABLE = QueueTable("default")
PAUSES = PauseStatements("default")


async def test_unknown_type(operator: Operator) -> None:
    """A pause of a type that nobody knows stands, and the command asks whether the name is right."""
    ran = await operator.run("types", "pause", "gret")
    assert (ran.code, ran.out) == (0, "type gret in queue default is paused: 0 jobs wait, 0 still run\n")
    assert ran.err == (
        "type gret has no jobs, and no live worker has a handler for it: is the name right?"
        " `delegator types resume gret` takes the pause back\n"
    )
    assert (await operator.run("types", "resume", "gret")).code == 0


async def test_paused_type(operator: Operator) -> None:
    """A paused type waits beyond its deadline while others run, and its jobs complete after the pause."""
    async with operator.worker():
        (paused,) = await operator.json("types", "pause", "greet", "--note", "printer broken")
        assert paused == {"queue": "default", "type": "greet", "was_paused": False, "jobs": 0, "running": 0}
        handle = await operator.buy("greet", "Ada")
        other = await operator.buy("pack", "lamp")
        job = await operator.job(handle, state="waiting", reason="paused")
        running = await operator.job(other, state="running")
        assert running["worker"]
        explained = await operator.json("explain", job["job_id"])
        assert "printer broken" in explained["text"]
        assert explained["needs"] == "`delegator types resume greet`"
        assert [row["is_paused"] for row in await operator.json("types", "list") if row["type"] == "greet"] == [True]
        assert "\n\ntype greet of queue default is paused for " in (await operator.run("status")).out

        async def is_past_deadline() -> bool:
            rows = await operator.engine.rows(
                "job_id = %s AND enqueued_at < now() - interval '5 seconds'", job["job_id"]
            )
            return bool(rows)

        await eventually(is_past_deadline)
        assert (await operator.job(handle))["reason"] == "paused"
        assert (await operator.json("types", "resume", "greet")) == [{"queue": "default", "type": "greet", "freed": 1}]
        assert await operator.engine.result(handle) == "hello Ada"
        (operator.engine.directory / "packed").touch()
        assert await operator.engine.result(other) == "packed lamp"
        (operator.engine.directory / "packed").unlink()


async def test_paused_queue(operator: Operator) -> None:
    """A job that fails in a paused queue is not tried again before the pause ends; `drain` refuses meanwhile."""
    async with operator.worker():
        handle = await operator.buy("pack", "vase")
        job = await operator.job(handle, state="running")
        ran = await operator.run("queues", "pause", "default")
        assert (ran.code, ran.out) == (0, "queue default is paused: 0 jobs wait, 1 still run\n")
        greeting = await operator.buy("greet")
        await operator.job(greeting, reason="paused")
        refused = await operator.run("queues", "drain", "default")
        assert (refused.code, refused.out) == (2, "")
        assert "delegator queues resume default" in refused.err
        (operator.engine.directory / "packed").touch()
        assert await operator.engine.result(handle) == "packed vase"
        (operator.engine.directory / "packed").unlink()
        assert (await operator.job(greeting))["reason"] == "paused"
        assert (await operator.run("queues", "resume", "default")).out == "queue default goes on: 1 jobs are free\n"
        assert (await operator.run("queues", "drain", "default", "--timeout", "60s")).out == "drained\n"
        assert await operator.engine.result(greeting) == "hello x"
        assert (await operator.run("queues", "resume", "default")).err == "not paused: nothing was changed\n"
        gone = await operator.run("explain", job["job_id"])
        assert (gone.code, "a job that has ended is deleted" in gone.err) == (2, True)


async def test_paused_in_order(databases: Databases, temporal: TemporalServer) -> None:
    """In an ordered queue a paused type leaves its line, and comes back into it."""
    async with running_operator(databases, temporal, ordered=("default",)) as operator, operator.worker():
        await operator.json("types", "pause", "charge")
        (operator.engine.directory / "fixed").touch()
        paused = await operator.buy("charge", "5")
        assert await operator.engine.result(await operator.buy("greet")) == "hello x"
        await operator.job(paused, reason="paused")
        await operator.json("types", "resume", "charge")
        assert await operator.engine.result(paused) == "charged 5"


@dataclass(frozen=True)
class Rows:
    """The table of a queue."""

    db: Connection

    async def add(self, job_id: str, job_type: str = "a", **options: int) -> None:
        row = NewJob(
            job_id, job_type, None, None, orjson.dumps(options).decode() if options else None, "wf",
            "0b1f6c1e-6d0a-4c53-9f0e-0d1f6c1e6d0a", None, min(options.values(), default=None), None,
        )  # fmt: skip
        await TABLE.insert(self.db, "ns", [row])

    async def set(self, changes: str, job_id: str) -> None:
        await self.db.execute(f"UPDATE custom_task_queue SET {changes} WHERE job_id = %s".encode(), (job_id,))

    async def value(self, expression: str, job_id: str) -> Any:
        cursor = await self.db.execute(
            f"SELECT {expression} FROM custom_task_queue WHERE job_id = %s".encode(), (job_id,)
        )
        ((value,),) = await cursor.fetchall()
        return value

    async def is_paused(self, job_id: str) -> bool:
        return bool(await self.value("options ? 'paused' AND retry_at > now() + interval '1 year'", job_id))


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh() as fresh:
        yield fresh


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[Rows]:
    async with await connect(database.url, application_name="test") as db:
        yield Rows(db)


async def test_maintenance_was_first(database: Database, rows: Rows) -> None:
    """The commands count what is paused and what gets free, also what maintenance has paused or frees in the moment."""
    await rows.add("a")
    await pauses.begin(rows.db, "default", None, "me", None)
    assert await PAUSES.pause_all(rows.db) == 1
    url = {"DELEGATOR_DATABASE_URL": database.url}
    paused = await delegator("queues", "pause", "default", **url)
    assert paused.out == "queue default was paused already: 1 jobs wait, 0 still run\n"
    async with await connect(database.url, application_name="test") as other, other.transaction():
        await other.execute("SELECT FROM custom_task_queue FOR UPDATE")
        resumed = await delegator("queues", "resume", "default", **url)
    assert resumed.out == "queue default goes on: 1 jobs are free\n"


async def test_seen_too_late(rows: Rows) -> None:
    """A claim leaves out a job of a paused type that was not visible when the jobs of its batch were paused."""
    await rows.add("a")
    await rows.add("b", "b")
    await pauses.begin(rows.db, "default", "a", "me", None)
    lease = await leases.grant(rows.db, "worker", "test", "default", timedelta(minutes=1))
    batch = [(job_id, int(await rows.value("fencing_token", job_id))) for job_id in ("a", "b")]
    looked, again = await TABLE.look(rows.db, batch, has_pauses=True)
    assert ([job.job_id for job in looked], again) == (["b"], set())
    claimed, again = await TABLE.claim(rows.db, batch, lease, has_pauses=True)
    assert ([job.job_id for job in claimed], again) == (["b"], set())


async def test_told_when_known(database: Database, rows: Rows) -> None:
    """A lease says that its process reads the pauses only when the process does. The command waits for it."""
    keeper = LeaseKeeper(
        database.url, "worker", duration=timedelta(hours=1), queue="default", report=lambda: WorkerReport(1, 0)
    )

    async def said() -> bool | None:
        (worker,) = await leases.workers(rows.db, ["default"])
        return worker.has_pauses

    async with keeper:
        assert (keeper.has_pauses, await said()) == (False, False)
        pausing = asyncio.create_task(delegator("queues", "pause", "default", DELEGATOR_DATABASE_URL=database.url))

        async def is_paused() -> bool:
            return bool(await pauses.pauses(rows.db, ["default"]))

        await eventually(is_paused)
        assert not pausing.done()
        await keeper.renew()
        assert (keeper.has_pauses, await said()) == (True, True)
        assert (await pausing).out == "queue default is paused: 0 jobs wait, 0 still run\n"
        await pauses.end(rows.db, "default", None)
        await keeper.renew()
        assert (keeper.has_pauses, await said()) == (False, False)


async def test_two_pauses(rows: Rows) -> None:
    """A job is free when no pause holds it: neither that of its queue nor that of its type."""
    await rows.add("a")
    await rows.add("b", "b")
    await pauses.begin(rows.db, "default", "a", "me", None)
    assert not await pauses.begin(rows.db, "default", "a", "you", None)
    assert await PAUSES.pause_all(rows.db) == 1
    await pauses.begin(rows.db, "default", None, "me", None)
    assert await PAUSES.pause_all(rows.db) == 1
    await pauses.end(rows.db, "default", None)
    assert await PAUSES.free(rows.db) == 1
    assert [await rows.is_paused("a"), await rows.is_paused("b")] == [True, False]
    await pauses.end(rows.db, "default", "a")
    assert await PAUSES.free(rows.db) == 1
    assert await MaintenanceStatements("default").republish_retries(rows.db) == 2
    lease = await leases.grant(rows.db, "worker", "test", "default", timedelta(minutes=1))
    claimed, _ = await TABLE.claim(rows.db, [("a", 0), ("b", 0)], lease)
    assert [job.attempt for job in claimed] == [1, 1]


async def test_deadlines_stand_still(rows: Rows) -> None:
    """A deadline moves by the length of the pause, also the one that counts from the first claim on."""
    await rows.add("a", schedule_to_close_ms=HOUR_MS, schedule_to_start_ms=HOUR_MS // 2)
    await pauses.begin(rows.db, "default", None, "me", None)
    earlier = (f"{name} = {name} - interval '20 minutes'" for name in ("enqueued_at", "published_at", "deadline"))
    await rows.set(", ".join(earlier), "a")
    await rows.db.execute(b"UPDATE custom_task_pause SET paused_at = now() - interval '20 minutes'")
    assert await PAUSES.pause_all(rows.db) == 1
    assert await rows.value("deadline", "a") is None
    await pauses.end(rows.db, "default", None)
    await PAUSES.free(rows.db)
    half_hour = "deadline BETWEEN now() + interval '29 minutes' AND now() + interval '31 minutes'"
    assert await rows.value(half_hour, "a")
    assert await MaintenanceStatements("default").republish_retries(rows.db) == 1
    lease = await leases.grant(rows.db, "worker", "test", "default", timedelta(minutes=1))
    ((claimed,), _) = await TABLE.claim(rows.db, [("a", 0)], lease)
    assert claimed.deadline_ms is not None
    assert 59 < claimed.deadline_ms / 60_000 < 61


async def test_what_runs_is_not_paused(rows: Rows) -> None:
    """Running jobs go on, an ended one stays, one that backs off keeps its time, Temporal's deadline is its own."""
    lease = await leases.grant(rows.db, "worker", "test", "default", timedelta(minutes=1))
    for job_id in ("running", "ended", "backs off", "task"):
        await rows.add(job_id, schedule_to_close_ms=HOUR_MS)
    await TABLE.claim(rows.db, [("running", 0)], lease)
    await rows.set("outcome = 'completed', result = ''", "ended")
    await rows.set("attempt = 1, retry_at = now() + interval '1 hour'", "backs off")
    await rows.set("task_token = 'x'", "task")
    await pauses.begin(rows.db, "default", None, "me", None)
    assert await PAUSES.pause_all(rows.db) == 2
    jobs = ("running", "ended", "backs off", "task")
    assert [await rows.is_paused(job_id) for job_id in jobs] == [False, False, True, True]
    assert await rows.value("deadline IS NOT NULL", "task")
    await pauses.end(rows.db, "default", None)
    assert await PAUSES.free(rows.db) == 2
    assert await rows.value("retry_at > now() + interval '59 minutes'", "backs off")
    assert await rows.value("retry_at <= now()", "task")
