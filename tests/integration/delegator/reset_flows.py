"""Workflows that are reset after they have closed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

OPTIONS: Any = {"start_to_close_timeout": timedelta(seconds=60)}
PATIENT: Any = {**OPTIONS, "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED}


class Waits:
    """Waits for signals."""

    def __init__(self) -> None:
        self.told = ""

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told = what

    @workflow.query
    def was_told(self) -> str:
        return self.told

    async def until(self, what: str) -> None:
        await workflow.wait_condition(lambda: self.told == what)


@workflow.defn
class FansOut(Waits):
    """Waits for three activities, and fails if a fourth one does."""

    @workflow.run
    async def run(self) -> list[Any]:
        results = [await workflow.execute_activity("in_thread", 1, **OPTIONS)]
        pending = [workflow.start_activity("noted", number, **OPTIONS) for number in range(3)]
        await self.until("go on")
        once = RetryPolicy(maximum_attempts=1)
        results.append(await workflow.execute_activity("unless_held", 7, retry_policy=once, **OPTIONS))
        return results + await asyncio.gather(*pending)


@workflow.defn
class Holds(Waits):
    """Waits for two activities that take long to stop. One is cancelled."""

    @workflow.run
    async def run(self) -> list[Any]:
        stays, goes = (workflow.start_activity("holds_on", number, **PATIENT) for number in (1, 2))
        await self.until("cancel")
        goes.cancel()
        await self.until("go on")
        results = await asyncio.gather(stays, goes, return_exceptions=True)
        return [type(result).__name__ if isinstance(result, BaseException) else result for result in results]
