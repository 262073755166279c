"""A sweeper that can't read what workers stored: it says so, keeps it, and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter

from delegator.completion.sealing import seal
from delegator.completion.signals import Delivery, RunKey, SignalSender
from delegator.rescue.metrics import RescueMetrics
from delegator.rescue.sweeper import Sweeper, SweepOptions
from delegator.store import lease_table
from delegator.store.database import Connection, connect
from delegator.store.queue_table import NewJob, QueueTable, Settled
from delegator.wire.outcomes import Outcome, OutcomeKind
from tests.support import Database

RUN = "0b1f6c1e-6d0a-4c53-9f0e-0d1f6c1e6d0a"
TABLE = QueueTable("default")
SECRET = Payloads(payloads=[Payload(metadata={"encoding": b"binary/encrypted"}, data=b"?")]).SerializeToString()


class Signals(SignalSender):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.delivered: list[str] = []

    async def deliver(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        self.delivered += [job_id for job_id, _ in outcomes]
        return Delivery.DELIVERED


async def settled(db: Connection, job_id: str, result: bytes) -> None:
    """Store a failure for a waiter who then leaves it to the sweeper."""
    delegator = await lease_table.grant(db, "delegator", "test", None, timedelta(hours=1))
    worker = await lease_table.grant(db, "worker", "test", "default", timedelta(hours=1))
    await TABLE.insert(db, "ns", [NewJob(job_id, "t", None, None, None, "wf", RUN, None, None, delegator)])
    ((claimed,), _) = await TABLE.claim(db, [(job_id, 0)], worker)
    await TABLE.settle(db, [Settled(job_id, claimed.lease_token, "failed", result)])
    await TABLE.hand_over(db, [job_id])


async def test_it_keeps_what_it_can_not_read(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    signals = Signals()
    metrics = RescueMetrics(CollectorRegistry())
    sweeper = Sweeper(
        [TABLE],
        signals=signals,
        converter=DataConverter.default,
        identity="test",
        metrics=metrics,
        options=SweepOptions(),
    )
    async with await connect(database.url, application_name="test") as db:
        await settled(db, "unreadable", SECRET)
        await settled(db, "readable", await seal(Outcome(OutcomeKind.FAILED, b""), None))
        await TABLE.insert(db, "ns", [NewJob("late", "t", None, None, None, "wf", RUN, None, 1, None)])
        await db.execute("UPDATE custom_task_queue SET settled_at = settled_at - interval '1 min'")
        await db.execute("UPDATE custom_task_queue SET last_failure = %s WHERE job_id = 'late'", (SECRET,))
        await db.execute("UPDATE custom_task_queue SET deadline = now() - interval '1 s' WHERE job_id = 'late'")

        await sweeper.sweep(db)
        await sweeper.sweep_fully(db)

        rows = await (await db.execute("SELECT job_id FROM custom_task_queue")).fetchall()
    assert rows == [("unreadable",)]
    assert sorted(signals.delivered) == ["late", "readable"]
    assert {record.message for record in caplog.records} >= {"outcome_unreadable", "failure_unreadable"}
