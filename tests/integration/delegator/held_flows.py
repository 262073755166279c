"""Workflows whose last workflow task can be held: it has a memo, which a codec sees."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow

from tests.integration.delegator import flows

LAST = "the last workflow task"


@workflow.defn
class EndsWithMemo:
    """Waits for a call. The workflow task that ends the run has a memo."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any]) -> Any:
        try:
            kind = workflow.ActivityCancellationType.TRY_CANCEL
            return await flows.Cancellable.call(way, name, args, kind)
        finally:
            workflow.upsert_memo({"which": LAST})


@workflow.defn
class CancelsWithMemo(flows.Cancellable):
    """Cancels a call when it is told to. The workflow task that ends the run has a memo."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any], kind: str) -> str:
        try:
            return await super().run(way, name, args, kind)
        finally:
            workflow.upsert_memo({"which": LAST})


@workflow.defn
class CallsAndCancels:
    """Makes a call and cancels it in one workflow task."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any]) -> str:
        kind = workflow.ActivityCancellationType.TRY_CANCEL
        task = asyncio.create_task(flows.Cancellable.call(way, name, args, kind))
        await workflow.execute_local_activity("until_started", start_to_close_timeout=flows.TIMEOUT)
        task.cancel()
        try:
            return await flows.Cancellable.outcome(task)
        finally:
            workflow.upsert_memo({"which": LAST})
