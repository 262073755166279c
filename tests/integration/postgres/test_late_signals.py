"""A signal that came late: the workflow task that enqueued its jobs may be lost, and enqueue them again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter
from temporalio.testing import ActivityEnvironment

from delegator.completion.mailbox import Delivery
from delegator.completion.runs import RunKey
from delegator.completion.signals import SignalSender
from delegator.config import Settings
from delegator.enqueue.activities import DelegatorActivities, EnqueueParts
from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.inline import InlineWaiter
from delegator.enqueue.policy import InlinePolicy
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.signaller import Signaller
from delegator.postgres.connections import Pool, connection_pool
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.wire.frames import from_payload, to_raw_value
from delegator.wire.outcomes import Outcome, OutcomeStatus, unpack_reply
from delegator.wire.requests import EnqueueRequest, JobRequest, JobSpec, pack_enqueue
from http_workers.attempt import Ended
from http_workers.finisher import Finisher
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import MAINTENANCE, NOW, RUN, TABLE
from tests.support import Database
from tests.support.watches import database_watch

JOB = f"{RUN}:0"
RESULT = Payloads(payloads=[Payload(data=b"7")]).SerializeToString()
Deliver = Callable[[Pool, "Sender", str], Awaitable[None]]


class Sender(SignalSender):
    """Delivers everything, late or in time."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.sent: list[str] = []

    async def deliver(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        self.sent += [job_id for job_id, _ in outcomes]
        return self.delivery

    def hurry(self) -> None: ...


async def enqueue(pool: Pool, url: str, job_id: str, inline_seconds: float) -> Outcome | None:
    """Enqueue a job as a workflow task of the run does; its outcome, if the reply has one."""
    async with (
        LeaseKeeper(url, "enqueuer", duration=timedelta(minutes=1)) as lease,
        InlineWaiter(pool, url, lease, result_ttl_seconds=60) as waiter,
        Enqueuer(pool, [TABLE], "default") as enqueuer,
    ):
        activities = DelegatorActivities()
        policy = InlinePolicy(inline_seconds, 100)
        activities.start(EnqueueParts(pool, enqueuer, waiter, policy, lease, DataConverter.default))
        own_id = None if job_id == JOB else job_id
        request = EnqueueRequest([JobRequest(JobSpec("t", TABLE.queue, None), b"", b"", own_id)], [0], 1_000)
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, workflow_run_id=RUN, workflow_id="wf")
        reply: Any = await environment.run(activities.enqueue, to_raw_value(pack_enqueue(request)))
        return unpack_reply(from_payload(reply.payload)).outcomes[0]


async def by_worker(pool: Pool, sender: Sender, job_id: str) -> None:
    """A worker claims the job, finishes it and signals its outcome."""
    async with pool.connection() as db:
        worker = await steps.grant(db, "worker")
        ((row,), _) = await TABLE.claim(db, [(job_id, 0)], worker)
    finisher = Finisher(
        pool=pool,
        table=TABLE,
        signals=sender,
        activity_tasks=Mock(),
        codec=None,
        identity="i",
        metrics=WorkerMetrics(CollectorRegistry()),
        database=database_watch(Settings.load(database_url=SecretStr(pool.conninfo))),
        on_finished=lambda job: None,
        refusal_grace=timedelta(days=1),
    )
    finisher.add(Ended(Job(row), result=RESULT))
    running = asyncio.create_task(finisher.run())
    async with asyncio.timeout(60):
        await finisher.flush()
    running.cancel()
    await asyncio.wait([running])


async def by_maintenance(pool: Pool, sender: Sender, job_id: str) -> None:
    """The outcome was left to the signaller."""
    async with pool.connection() as db:
        await db.execute(
            "UPDATE custom_task_queue SET outcome = %s, result = %s, completed_at = now() - interval '1 min'",
            (OutcomeStatus.COMPLETED.value, RESULT),
        )
    watch = database_watch(Settings.load(database_url=SecretStr(pool.conninfo)))
    metrics = MaintenanceMetrics(CollectorRegistry())
    await Signaller("default", pool=pool, database=watch, signals=sender, metrics=metrics).deliver(NOW)


@pytest.mark.parametrize("deliver", [by_worker, by_maintenance])
@pytest.mark.parametrize("inline_seconds", [0.0, 5.0])
async def test_enqueued_again(database: Database, deliver: Deliver, inline_seconds: float) -> None:
    """The second enqueue gets the outcome, and no handler runs again. Later the row goes."""
    async with connection_pool(database.url, application_name="test", size=2) as pool:
        assert await enqueue(pool, database.url, JOB, 0.0) is None
        sender = Sender(Delivery.LATE)
        await deliver(pool, sender, JOB)
        assert sender.sent == [JOB]
        outcome = await enqueue(pool, database.url, JOB, inline_seconds)
        assert outcome == Outcome(OutcomeStatus.COMPLETED, RESULT)
        async with pool.connection() as db:
            assert await MAINTENANCE.undelivered(db, NOW, [], [], []) == []
            await db.execute("UPDATE custom_task_queue SET completed_at = now() - interval '1 h'")
            assert await MAINTENANCE.delete_unread(db, timedelta(minutes=5)) == 1


@pytest.mark.parametrize("deliver", [by_worker, by_maintenance])
@pytest.mark.parametrize(
    ("delivery", "job_id"), [(Delivery.DELIVERED, JOB), (Delivery.ORPHANED, JOB), (Delivery.LATE, "unique")]
)
async def test_deleted(database: Database, deliver: Deliver, delivery: Delivery, job_id: str) -> None:
    """A row is deleted if its signal came in time or nobody waits, and if another run may use its id."""
    async with connection_pool(database.url, application_name="test", size=2) as pool:
        assert await enqueue(pool, database.url, job_id, 0.0) is None
        async with pool.connection() as db:
            await db.execute("UPDATE custom_task_queue SET job_id = %s", (job_id,))
            await deliver(pool, Sender(delivery), job_id)
            assert await (await db.execute("SELECT job_id FROM custom_task_queue")).fetchall() == []
