"""A sweeper keeps what it can't read, store or deliver, reports it, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import orjson
import pytest
from delegator_schema.options import CODEC_PROBE
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter, PayloadCodec

from delegator import Settings
from delegator.completion.mailbox import Delivery
from delegator.completion.runs import RunKey
from delegator.completion.signals import SignalSender
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.signaller import Signaller
from delegator.maintenance.sweeper import Sweeper, SweeperOptions
from delegator.postgres import leases
from delegator.postgres.connections import Connection, Pool, connect
from delegator.postgres.queue_table import AttemptOutcome, NewJob, QueueTable
from delegator.wire.codec import encode_outcome
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.probe import make_probe
from tests.integration.delegator.encryption import converter as encrypted
from tests.support import Database
from tests.support.watches import database_watch

RUN = "0b1f6c1e-6d0a-4c53-9f0e-0d1f6c1e6d0a"
TABLE = QueueTable("default")
SECRET = Payloads(payloads=[Payload(metadata={"encoding": b"binary/encrypted"}, data=b"?")]).SerializeToString()
LONG_AGO = "UPDATE custom_task_queue SET completed_at = completed_at - interval '1 min'"


class Signals(SignalSender):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.fails_for = ""
        self.temporal_is_there = asyncio.Event()
        self.temporal_is_there.set()

    async def deliver(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        await self.temporal_is_there.wait()
        if key.workflow_id == self.fails_for:
            raise LookupError("no key")
        self.delivered += [job_id for job_id, _ in outcomes]
        return Delivery.DELIVERED


class NoKey(PayloadCodec):
    """Refuses failures of jobs named bad."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if any(b"bad" in payload.data for payload in payloads):
            raise LookupError("no key")
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


class Sweeping:
    """A sweeper and what it works with."""

    def __init__(self, pool: Pool, codec: PayloadCodec | None = None) -> None:
        self.signals = Signals()
        self.metrics = MaintenanceMetrics(CollectorRegistry())
        watch = database_watch(Settings.load(database_url=SecretStr(pool.conninfo)))
        self.signaller = Signaller(
            "default", pool=pool, database=watch, signals=self.signals, codec=codec, metrics=self.metrics
        )
        self.sweeper = Sweeper(
            ["default"],
            signallers=[self.signaller],
            database=watch,
            converter=DataConverter(payload_codec=codec),
            identity="test",
            metrics=self.metrics,
            options=SweeperOptions(interval=timedelta(milliseconds=20)),
        )

    def snoozed(self) -> float | None:
        value: float = self.metrics.snoozed.labels("default")._value.get()
        return value


async def store_failure(db: Connection, job_id: str, result: bytes, workflow_id: str = "wf") -> None:
    """Store a failure for a waiter that then leaves it to the signaller."""
    enqueuer = await leases.grant(db, "enqueuer", "test", None, timedelta(hours=1))
    worker = await leases.grant(db, "worker", "test", "default", timedelta(hours=1))
    await TABLE.insert(db, "ns", [NewJob(job_id, "t", None, None, None, workflow_id, RUN, None, None, enqueuer)])
    ((claimed,), _) = await TABLE.claim(db, [(job_id, 0)], worker)
    await TABLE.store_outcomes(db, [AttemptOutcome(job_id, claimed.fencing_token, "failed", result)])
    await TABLE.hand_over(db, [job_id])


async def insert_overdue(db: Connection, *job_ids: str) -> None:
    await TABLE.insert(db, "ns", [NewJob(job, "t", None, None, None, "wf", RUN, None, 1, None) for job in job_ids])
    await db.execute("UPDATE custom_task_queue SET deadline = now() - interval '1 s' WHERE deadline IS NOT NULL")


async def left(db: Connection) -> list[str]:
    rows = await (await db.execute("SELECT job_id FROM custom_task_queue ORDER BY job_id")).fetchall()
    return [job_id for (job_id,) in rows]


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.02)


async def test_codec_of_the_client_is_missing(db: Connection, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """Without the codec of a job's client nothing is delivered or timed out. The log says which setting is wrong."""
    options = orjson.dumps({CODEC_PROBE: await make_probe(encrypted.payload_codec)}).decode()
    await store_failure(db, "stored", await encode_outcome(Outcome(OutcomeStatus.FAILED, b""), None))
    await insert_overdue(db, "late")
    await db.execute("UPDATE custom_task_queue SET options = %s", [options])
    sweeping = Sweeping(pool)
    await sweeping.signaller.deliver(timedelta(0))
    await sweeping.sweeper.sweep(db)
    assert await left(db) == ["late", "stored"]
    assert sweeping.signals.delivered == []
    reasons = {record.message: getattr(record, "reason", "") for record in caplog.records}
    for event in ("outcome_unreadable", "timeout_not_stored"):
        assert "DELEGATOR_DATA_CONVERTER" in reasons[event]


async def test_unreadable_outcome(db: Connection, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """An outcome that can't be read is kept, and the others are delivered."""
    sweeping = Sweeping(pool)
    await store_failure(db, "unreadable", SECRET)
    await store_failure(db, "readable", await encode_outcome(Outcome(OutcomeStatus.FAILED, b""), None))
    await db.execute(LONG_AGO)
    await insert_overdue(db, "overdue")
    await db.execute("UPDATE custom_task_queue SET last_failure = %s WHERE job_id = 'overdue'", (SECRET,))

    await sweeping.sweeper.sweep(db)
    await sweeping.signaller.deliver(timedelta(0))

    assert await left(db) == ["unreadable"]
    assert sorted(sweeping.signals.delivered) == ["overdue", "readable"]
    assert {record.message for record in caplog.records} >= {"outcome_unreadable", "failure_unreadable"}
    assert sweeping.snoozed() == 1


async def test_codec_refuses_timeout(db: Connection, pool: Pool) -> None:
    """A job whose timeout the codec refuses is snoozed, and the others are timed out and delivered."""
    sweeping = Sweeping(pool, NoKey())
    await insert_overdue(db, "bad", "good")

    for _ in range(2):
        await sweeping.sweeper.sweep(db)
        await sweeping.signaller.deliver(timedelta(0))

    assert (await left(db), sweeping.signals.delivered) == (["bad"], ["good"])
    assert sweeping.snoozed() == 1, "it is left alone for a while"


async def test_unsendable_outcome(db: Connection, pool: Pool) -> None:
    """An outcome that can't be sent is kept, and the others are delivered."""
    sweeping = Sweeping(pool)
    sweeping.signals.fails_for = "no key"
    result = await encode_outcome(Outcome(OutcomeStatus.FAILED, b""), None)
    await store_failure(db, "unsendable", result, "no key")
    await store_failure(db, "sendable", result)
    await db.execute(LONG_AGO)

    await sweeping.signaller.deliver(timedelta(0))

    assert (await left(db), sweeping.signals.delivered) == (["unsendable"], ["sendable"])
    assert sweeping.snoozed() == 1


async def test_temporal_outage(database: Database, db: Connection, pool: Pool) -> None:
    """The sweeper does its other work while Temporal is away, and delivers outcomes afterwards."""
    sweeping = Sweeping(pool)
    sweeping.signals.temporal_is_there.clear()
    await store_failure(db, "undelivered", await encode_outcome(Outcome(OutcomeStatus.FAILED, b""), None))
    await db.execute(LONG_AGO)
    worker = await leases.grant(db, "worker", "dead", "default", timedelta(0))
    async with await connect(database.url, application_name="leader") as leader:
        task = asyncio.create_task(sweeping.sweeper.run(leader))
        try:
            await insert_overdue(db, "overdue")

            async def timed_out() -> bool:
                query = "SELECT outcome = 'failed' FROM custom_task_queue WHERE job_id = 'overdue'"
                return (await (await db.execute(query)).fetchall()) == [(True,)]

            async def swept() -> bool:
                query = "SELECT FROM custom_task_lease WHERE lease_id = %s"
                return not await (await db.execute(query, (worker,))).fetchall()

            await eventually(timed_out)
            await eventually(swept)
            assert await left(db) == ["overdue", "undelivered"]
            sweeping.signals.temporal_is_there.set()

            async def delivered() -> bool:
                return await left(db) == []

            await eventually(delivered)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert sorted(sweeping.signals.delivered) == ["overdue", "undelivered"]


async def test_dead_letters_delay_no_retry(db: Connection, pool: Pool) -> None:
    """While dead letters can't be stored, the retries of their queue come at each look. The letters come later."""
    sweeping = Sweeping(pool)
    await TABLE.insert(
        db, None, [NewJob(job, "t", None, None, None, None, None, None, 1, None) for job in ("overdue", "failed")]
    )
    await db.execute("UPDATE custom_task_queue SET deadline = now() WHERE job_id = 'overdue'")
    await db.execute("ALTER TABLE custom_task_dead_letter RENAME TO away")
    try:
        for _ in range(3):
            await db.execute("UPDATE custom_task_queue SET retry_at = now() WHERE job_id = 'failed'")
            await sweeping.sweeper.sweep(db)
            waiting = await (await db.execute("SELECT job_id FROM custom_task_queue WHERE retry_at IS NULL")).fetchall()
            assert ("failed",) in waiting
    finally:
        await db.execute("ALTER TABLE away RENAME TO custom_task_dead_letter")

    async def is_stored() -> bool:
        await sweeping.sweeper.sweep(db)
        return bool(await (await db.execute("SELECT FROM custom_task_dead_letter")).fetchall())

    await eventually(is_stored)


async def test_refused_signaller(db: Connection, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """A signaller whose table is gone says so once, goes on, and delivers when the table is back."""
    sweeping = Sweeping(pool)
    await store_failure(db, "stored", await encode_outcome(Outcome(OutcomeStatus.FAILED, b""), None))
    await db.execute(LONG_AGO)
    await db.execute("ALTER TABLE custom_task_queue RENAME TO away")
    task = asyncio.create_task(sweeping.signaller.run())

    async def refused() -> bool:
        assert not task.done()
        return "database_refused" in caplog.text

    async def delivered() -> bool:
        return sweeping.signals.delivered == ["stored"]

    try:
        await eventually(refused)
        await db.execute("ALTER TABLE away RENAME TO custom_task_queue")
        await eventually(delivered)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    # The table may come back between a refusal and the look at the schema. The reason is another one then.
    record, *others = [record for record in caplog.records if record.message == "database_refused"]
    assert len(others) <= 1
    fields = vars(record)
    assert fields["sqlstate"] == "42P01"
    assert (
        fields["reason"] == "table custom_task_queue is missing: run `delegator migrate` with DELEGATOR_QUEUES=default"
    )
