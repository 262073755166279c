"""A server that runs out of something: room for notifications, locks, or the patience of who waits for a slot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psycopg
import pytest

from delegator.dev.directory import StackDirectory
from delegator.dev.postgres import Postgres
from delegator.errors import DatabaseError
from delegator.migrate import inspect
from delegator.postgres import notifying, pauses
from delegator.postgres.connections import Connection, connect
from delegator.postgres.error_classes import ErrorClass, classify
from delegator.postgres.queue_pause import PauseStatements
from delegator.postgres.queue_steering import SteeringStatements
from delegator.postgres.queue_table import AttemptOutcome, NewJob, NextAttempt
from delegator.relay import running_relay
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import MAINTENANCE, TABLE
from tests.integration.relay.client import Puller, options, until
from tests.support import Database, Databases

DELAYED = '{"start_delay_ms":60000}'
SMALL = {"max_notify_queue_pages": "64", "max_prepared_transactions": "5", "max_locks_per_transaction": "10"}


@pytest.fixture(scope="module")
async def small_databases(server_directory: StackDirectory) -> AsyncIterator[Databases]:
    """Databases of a server that has little of everything."""
    log = server_directory.log("postgres-small")
    server = Postgres(
        server_directory.path / "postgres-small", log, durable=False, preferred_port=None, name="small", settings=SMALL
    )
    await server.start()
    try:
        yield Databases(server)
    finally:
        await server.stop()
        server.release()


@pytest.fixture
async def small(small_databases: Databases) -> AsyncIterator[Database]:
    """A migrated database of that server."""
    async with small_databases.fresh() as fresh:
        yield fresh


@asynccontextmanager
async def full_of_notifications(database: Database) -> AsyncIterator[Connection]:
    """Fill the queue of notifications: a session listens, and stays in its transaction."""
    async with (
        await psycopg.AsyncConnection.connect(database.url) as sleeper,
        await connect(database.url, application_name="test") as sender,
    ):
        await sleeper.execute("LISTEN anything")
        await sleeper.commit()
        await sleeper.execute("SELECT 1")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            while True:
                await sender.execute(
                    "SELECT pg_notify('other', repeat('x', 7000) || n) FROM generate_series(1, 20) AS n"
                )
        yield sender


async def test_notify_queue_full(
    small: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every statement that notifies works without notifications, and with them when the cause is gone."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(notifying, "_PAUSE_SECONDS", 0.0)
    jobs = ["one", "two", "three", "again", "late", "later"]
    steering, pausing = SteeringStatements("default"), PauseStatements("default")
    async with await connect(small.url, application_name="test") as db:
        waiter, worker = await steps.grant(db, "enqueuer"), await steps.grant(db, "worker")
        await steps.insert(db, jobs, waiter)
        claimed, _ = await TABLE.claim(db, [(job, 0) for job in jobs], worker)
        held = {claim.job_id: claim.fencing_token for claim in claimed}
        assert await TABLE.retry(db, [NextAttempt("later", held["later"], 3_600_000, b"f", 1)]) == {"later"}
        await steps.insert(db, ["paused"], waiter)
        await pauses.begin(db, "default", None, "test", None)
        assert await pausing.pause_named(db, ["paused"]) == 1
        await pauses.end(db, "default", None)

        async with full_of_notifications(small):
            done = [AttemptOutcome(job, held[job], "completed", b"r") for job in ("one", "two", "three")]
            assert await TABLE.store_outcomes(db, done[:1]) == {"one"}
            assert await TABLE.store_outcomes(db, done[1:]) == {"two", "three"}
            assert await TABLE.retry(db, [NextAttempt("again", held["again"], 0, b"f", 1)]) == {"again"}
            assert await MAINTENANCE.time_out(db, [("late", held["late"], b"t")]) == 1
            await TABLE.hand_over(db, ["one"])
            assert await steering.retry(db, ["later"]) == {"later"}
            assert await steering.cancel_waiting(db, [("later", b"c")]) == {"later"}
            await pauses.announce(db)
            assert await pausing.free(db) == 1
            async with db.transaction():  # as in an application's own transaction
                delayed = NewJob("delayed", "t", None, None, DELAYED, None, None, None, None, None)
                assert await TABLE.insert(db, "ns", [delayed]) == {"delayed"}
        full = [record for record in caplog.records if record.message == "notifications_full"]
        assert {"in a transaction since" in vars(record)["oldest"] for record in full} == {True}

        async with await connect(small.url, application_name="test") as listener:
            await listener.execute("LISTEN delegator_maintenance")
            await TABLE.hand_over(db, ["two"])
            assert [notify.payload async for notify in listener.notifies(timeout=20, stop_after=1)] == ["outcome"]
    assert "notifications_back" in caplog.text


async def test_locks_used_up(small: Database) -> None:
    """A server without room for locks is unavailable for a while."""
    async with (
        await connect(small.url, application_name="test") as hog,
        await connect(small.url, application_name="test") as db,
    ):
        with pytest.raises(psycopg.errors.OutOfMemory) as raised:
            await hog.execute("SELECT pg_advisory_lock(n) FROM generate_series(1, 100000) AS n")
        assert classify(raised.value) is ErrorClass.UNAVAILABLE
        with pytest.raises(DatabaseError, match="out of shared memory"):
            await inspect(small.settings)
        await hog.execute("SELECT pg_advisory_unlock_all()")
        await steps.insert(db, ["one"], None)
        assert (await inspect(small.settings)).up_to_date


@pytest.mark.parametrize("prepared", [False, True])
async def test_slot_waits(small: Database, prepared: bool, caplog: pytest.LogCaptureFixture) -> None:
    """While the creation of a slot waits for a transaction, health, readiness and log say for whose."""
    async with await psycopg.AsyncConnection.connect(small.url, application_name="nightly export") as old:
        await old.execute("SELECT pg_current_xact_id()")
        pid = old.info.backend_pid
        if prepared:
            await old.execute("PREPARE TRANSACTION 'left over'")
        whose = "prepared transaction left over of role postgres" if prepared else f"session {pid} (role postgres"
        async with running_relay(options(small), wait=False) as handle:
            await until(lambda: said(handle.relay.state.problem, whose))
            assert not handle.relay.state.health()["ok"]
            if prepared:
                await old.set_autocommit(True)
                await old.execute("ROLLBACK PREPARED 'left over'")
            else:
                assert "nightly export" in str(handle.relay.state.problem)
                await old.rollback()
            async with asyncio.timeout(30):
                await handle.relay.streaming()
            assert handle.relay.state.health()["ok"]
    assert [record.message for record in caplog.records].count("relay_slot_waits") == 1


async def said(problem: str | None, text: str) -> bool:
    return text in (problem or "")


async def test_slot_after_wait(small: Database) -> None:
    """Jobs of the transaction for which the slot waited arrive, too."""
    async with await psycopg.AsyncConnection.connect(small.url) as old:
        await old.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('early', 't')")
        async with running_relay(options(small), wait=False) as handle, aiohttp.ClientSession() as session:
            await until(lambda: said(handle.relay.state.problem, "waits for"))
            await old.commit()
            async with asyncio.timeout(60):
                await handle.relay.streaming()
                assert await Puller(handle.url, session).drain() == ["early"]
