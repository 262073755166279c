"""A workflow that is reset after it has failed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

OPTIONS: Any = {"start_to_close_timeout": timedelta(seconds=60)}


@workflow.defn
class FansOut:
    """Waits for three activities. It fails if another one does, which begins after a signal."""

    def __init__(self) -> None:
        self.may_go_on = False

    @workflow.run
    async def run(self, cancels: bool) -> list[Any]:
        results = [await workflow.execute_activity("in_thread", 1, **OPTIONS)]
        patient = {**OPTIONS, "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED}
        pending = [workflow.start_activity("noted", number, **patient) for number in range(3)]
        await workflow.wait_condition(lambda: self.may_go_on)
        if cancels:
            pending[0].cancel()
        results.append(
            await workflow.execute_activity("unless_held", 7, retry_policy=RetryPolicy(maximum_attempts=1), **OPTIONS)
        )
        for outcome in await asyncio.gather(*pending, return_exceptions=True):
            results.append(type(outcome.cause).__name__ if isinstance(outcome, ActivityError) else outcome)
        return results

    @workflow.signal
    def go_on(self) -> None:
        self.may_go_on = True
