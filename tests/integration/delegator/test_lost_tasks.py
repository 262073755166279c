"""A workflow task that cancels a job, and is lost. When it is run again, the job's outcome comes before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.converter import PayloadCodec
from temporalio.exceptions import CancelledError

from tests.integration.delegator.environment import SIGNALLED, Environment
from tests.integration.delegator.held_flows import LAST, CallsAndCancels, CancelsWithMemo, EndsWithMemo

WAYS = ["delegate", "execute_activity", "delegate_map"]


class HoldsLastTask(PayloadCodec):
    """Changes nothing. It holds the completion of the last workflow task until it is told to let it go."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if any(LAST.encode() in payload.data for payload in payloads):
            await self.released.wait()
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


@pytest.fixture
def codec() -> HoldsLastTask:
    return HoldsLastTask()


@pytest.fixture
def holding(engine: Environment, codec: HoldsLastTask) -> Environment:
    """The engine, whose Temporal workers have the codec."""
    config = engine.client.config()
    config["data_converter"] = replace(config["data_converter"], payload_codec=codec)
    holding = copy(engine)
    holding.client = Client(**config)
    return holding


async def is_lost(handle: WorkflowHandle[Any, Any]) -> bool:
    """Return whether a workflow task was lost: Temporal does not end a run that has a new signal (UnhandledCommand)."""
    history = await handle.fetch_history()
    return EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED in [event.event_type for event in history.events]


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_workflow(holding: Environment, codec: HoldsLastTask, way: str):
    """A workflow that was cancelled ends as cancelled, though the outcome comes before the cancellation."""
    async with holding.worker(SIGNALLED, intercept=True, workflows=[EndsWithMemo]) as task_queue:
        handle = await holding.start(EndsWithMemo.run, way, "until_cancelled", [False], task_queue=task_queue)
        await holding.noted(handle.id, "started")
        await handle.cancel()
        await holding.noted(handle.id, "cancelled")
        await holding.nothing_left()
        codec.released.set()
        with pytest.raises(WorkflowFailureError) as raised:
            await holding.result(handle)
    assert isinstance(raised.value.cause, CancelledError)
    assert await is_lost(handle)


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_call(holding: Environment, codec: HoldsLastTask, way: str):
    """A call that the workflow's code cancelled does not tell what its job had come to."""
    async with holding.worker(SIGNALLED, intercept=True, workflows=[CancelsWithMemo]) as task_queue:
        handle = await holding.start(
            CancelsWithMemo.run, way, "fails_when_cancelled", [False], "TRY_CANCEL", task_queue=task_queue
        )
        await holding.noted(handle.id, "started")
        await handle.signal(CancelsWithMemo.cancel)
        await holding.noted(handle.id, "cancelled")
        await holding.nothing_left()
        codec.released.set()
        assert await holding.result(handle) == "activity cancelled"
    assert await is_lost(handle)


@pytest.mark.parametrize("way", WAYS[:2])
async def test_called_and_cancelled(holding: Environment, codec: HoldsLastTask, way: str):
    """A call that the lost task made and cancelled ends as cancelled, and its job does not run again."""

    @activity.defn
    async def until_started() -> None:
        await holding.noted(activity.info().workflow_id or "", "started")

    options = {"workflows": [CallsAndCancels], "activities": [until_started]}
    async with holding.worker(SIGNALLED, intercept=True, **options) as task_queue:
        handle = await holding.start(CallsAndCancels.run, way, "until_cancelled", [False], task_queue=task_queue)
        await holding.noted(handle.id, "cancelled")
        await holding.nothing_left()
        codec.released.set()
        assert await holding.result(handle) == "activity cancelled"
    assert await is_lost(handle)
    assert holding.ledger(handle.id) == [("started", 1), ("cancelled", 1)]
