"""The local activities of the engine in memory, repeated as by a workflow task that is run again."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

from temporalio.converter import DataConverter
from temporalio.testing import ActivityEnvironment

from delegator.enqueue.policy import InlinePolicy
from delegator.testing import InMemoryEngine
from delegator.testing.activities import InMemoryActivities
from delegator.wire.frames import to_raw_value
from delegator.wire.outcomes import Outcome, OutcomeStatus, unpack_reply, unpack_signal
from delegator.wire.requests import EnqueueRequest, JobRequest, JobSpec, pack_cancel, pack_enqueue
from delegator.wire.values import ValueConverter
from tests.unit.testing import handlers

VALUES = ValueConverter(DataConverter.default.payload_converter, is_default=True)
MEGABYTE = 1024 * 1024


def activities(engine: InMemoryEngine, wait: float = 5.0) -> InMemoryActivities:
    return InMemoryActivities(engine, InlinePolicy(wait, 1_000))


async def enqueue(
    local: InMemoryActivities, name: str, *args: Any, run_id: str = "run", own_id: str | None = None, jobs: int = 1
) -> Sequence[Outcome | None]:
    spec = JobSpec(name, "default", None)
    request = EnqueueRequest([JobRequest(spec, VALUES.encode(args), b"", own_id)] * jobs, range(jobs), MEGABYTE)
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, workflow_run_id=run_id)
    reply = await environment.run(local.enqueue, to_raw_value(pack_enqueue(request)))
    return unpack_reply(reply.payload.data)[1]


def value(outcome: Outcome | None) -> Any:
    assert outcome is not None and outcome.status is OutcomeStatus.COMPLETED
    return VALUES.decode(outcome.body, None)[0]


async def test_repeated_task():
    """A workflow task that is run again gets the lost reply again, and the job runs once."""
    async with InMemoryEngine([handlers]) as engine:
        local = activities(engine)
        for _ in range(2):
            (outcome,) = await enqueue(local, "succeed_at", 1)
            assert value(outcome) == 1
        assert len(engine.jobs) == 1


async def test_own_id_in_another_run():
    """A finished job does not answer another workflow run that gives the same id."""
    async with InMemoryEngine([handlers]) as engine:
        local = activities(engine)
        for run_id in ("first", "second"):
            await enqueue(local, "succeed_at", 1, run_id=run_id, own_id="mine")
        assert len(engine.jobs) == 2


async def test_second_wait():
    """A second local activity waits for the same job when the first one dies during its wait."""
    async with InMemoryEngine([handlers], paused=True) as engine:
        local = activities(engine)
        first = asyncio.create_task(enqueue(local, "succeed_at", 1))
        while not engine.jobs:
            await asyncio.sleep(0)
        assert engine.jobs[0].is_awaited
        first.cancel()
        await asyncio.wait([first])
        assert not engine.jobs[0].is_awaited
        second = asyncio.create_task(enqueue(local, "succeed_at", 1))
        while not engine.jobs[0].is_awaited:
            await asyncio.sleep(0)
        engine.resume()
        assert value((await second)[0]) == 1


async def test_canceled_job_does_not_run():
    async with InMemoryEngine([handlers], paused=True) as engine:
        local = activities(engine, wait=0)
        assert list(await enqueue(local, "succeed_at", 1, own_id="mine")) == [None]
        frame = to_raw_value(pack_cancel([("default", "mine"), ("default", "nobody")]))
        reply = await ActivityEnvironment().run(local.cancel, frame)
        ((job_id, outcome),) = unpack_signal(reply.payload.data)
        assert (job_id, outcome.status) == ("mine", OutcomeStatus.CANCELED)
        engine.resume()
        await asyncio.sleep(0)
        assert engine.jobs[0].attempts == ()


async def test_reply_limit():
    """Outcomes that the reply has no room for are left to a signal."""

    async with InMemoryEngine([handlers], fakes={"large": lambda: "x" * 400_000}) as engine:
        outcomes = await enqueue(activities(engine), "large", jobs=4)
    assert [outcome is not None for outcome in outcomes] == [True, True, False, False]
