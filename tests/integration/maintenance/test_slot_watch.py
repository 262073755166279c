"""Maintenance says when jobs wait for a slot that nobody makes again."""

from __future__ import annotations

import logging

import psycopg
import pytest
from delegator_schema.queues import queue_slot
from prometheus_client import CollectorRegistry

from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.slot_watch import SlotWatch
from delegator.operating.doctor.check import Status
from delegator.operating.doctor.database import check_slots
from delegator.postgres.connections import connect
from tests.support import Database

INSERT = "INSERT INTO custom_task_queue (job_id, job_type, published_at) VALUES ('a', 't', now() - interval '1 min')"


async def test_missing_slot(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """One line when jobs wait without a slot, with the statement that makes it; one when it is there again."""
    caplog.set_level(logging.INFO)
    name = queue_slot("default", database.settings.slot)
    watch = SlotWatch({"default": name}, MaintenanceMetrics(CollectorRegistry()))
    async with await connect(database.url, application_name="test") as connection:
        await watch.look(connection)
        assert caplog.messages == []  # nothing waits
        await connection.execute(INSERT.encode())
        await watch.look(connection)
        await watch.look(connection)
        fix = str(vars(caplog.records[0])["fix"])
        assert caplog.messages == ["slot_missing"]
        await connection.execute(fix.partition("with Sequin: ")[2].encode())
        await watch.look(connection)
        assert caplog.messages == ["slot_missing", "slot_back"]


async def test_gauges_tell_missing_from_unread(database: Database) -> None:
    """One queue's slot is dropped and made again: missing, then unread. The other queue's slot exists all the time."""
    registry = CollectorRegistry()
    names = {queue: queue_slot(queue, database.settings.slot) for queue in ("default", "video")}
    watch = SlotWatch(names, MaintenanceMetrics(registry))
    make = b"SELECT pg_create_logical_replication_slot(%s, 'pgoutput')"

    def gauges(queue: str) -> tuple[float | None, float | None, bool]:
        missing, active, retained = (
            registry.get_sample_value(f"delegator_slot_{name}", {"queue": queue})
            for name in ("missing", "active", "retained_bytes")
        )
        return missing, active, retained is not None

    missing, unread = (1, 0, False), (0, 0, True)
    async with await connect(database.url, application_name="test") as connection:
        for name in names.values():
            await connection.execute(make, [name])
        await watch.look(connection)
        assert (gauges("default"), gauges("video")) == (unread, unread)
        await connection.execute(b"SELECT pg_drop_replication_slot(%s)", [names["default"]])
        await watch.look(connection)
        assert (gauges("default"), gauges("video")) == (missing, unread)
        await connection.execute(make, [names["default"]])
        await watch.look(connection)
        assert (gauges("default"), gauges("video")) == (unread, unread)


async def test_slot_of_a_queue_that_is_gone(database: Database) -> None:
    """`delegator doctor` finds what a queue that was taken out of Sequin's file has left behind."""
    left = f"{database.settings.slot}_video"
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as admin:
        await admin.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [left])
    async with await connect(database.url, application_name="test") as connection:
        missing, note = await check_slots(connection, database.settings)
    assert (missing.status, "pg_create_logical_replication_slot" in str(missing.fix)) == (Status.FAILED, True)
    assert (note.link, note.status) == (f"slot {left}", Status.NOTE)
    assert f"pg_drop_replication_slot('{left}')" in str(note.fix)
