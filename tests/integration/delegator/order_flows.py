"""Workflows whose jobs have a start delay or a priority."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, TimeoutError

from delegator import delegate, delegate_map

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.tasks as tasks

SECOND = timedelta(seconds=1)


@workflow.defn
class Delayed:
    """Delegates a job with a start delay beside one without; says how long each took, and how the delayed one ended."""

    @workflow.run
    async def run(self, options: dict[str, float], runs_seconds: float) -> dict[str, Any]:
        began = workflow.now()

        async def timed(seconds: float = 0, **given: Any) -> tuple[float, str]:
            try:
                await delegate(tasks.sleeps, seconds, **given)
                ended = "completed"
            except ActivityError as error:
                ended = error.cause.type.name if isinstance(error.cause, TimeoutError) else repr(error.cause)
            return (workflow.now() - began).total_seconds(), ended

        given = {name: timedelta(seconds=seconds) for name, seconds in options.items()}
        (plain, _), (delayed, ended) = await asyncio.gather(timed(), timed(runs_seconds, **given))
        return {"plain": plain, "delayed": delayed, "ended": ended}


@workflow.defn
class CancelsDelayed:
    """Cancels a job during its start delay."""

    @workflow.run
    async def run(self) -> str:
        call = asyncio.create_task(delegate(tasks.noted, 1, start_delay=timedelta(hours=1)))
        await workflow.sleep(0.1)
        call.cancel()
        try:
            await call
        except ActivityError as error:
            return type(error.cause).__name__
        return "completed"


@workflow.defn
class Prioritized:
    """Delegates jobs with priorities of their own, and one that inherits the workflow's."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(
            delegate(tasks.noted, 1),
            delegate(tasks.noted, 2, priority=Priority(priority_key=1)),
            delegate_map(tasks.noted, [3], priority=Priority(fairness_key="own", fairness_weight=5000.0)),
        )


@workflow.defn
class Scheduled:
    """Schedules an ordinary activity with a priority."""

    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            tasks.noted, 4, start_to_close_timeout=SECOND * 30, priority=Priority(priority_key=2)
        )


ALL = [Delayed, CancelsDelayed, Prioritized, Scheduled]
