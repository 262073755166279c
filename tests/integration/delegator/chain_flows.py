"""A workflow that makes quick calls one after the other until something reaches it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.tasks as tasks

_SOON = 0.1  # seconds
_MOST_STEPS = 10_000  # A workflow that is not reached ends some day.
_TIMEOUT = timedelta(seconds=30)


def is_over(error: BaseException) -> bool:
    """Return whether the error says that the time is over, and nothing else."""
    return isinstance(error, TimeoutError) or is_cancelled_exception(error)


@workflow.defn
class Chain:
    """Calls without end, one after the other."""

    def __init__(self) -> None:
        self._steps = 0
        self._is_stopped = False

    @workflow.run
    async def run(self, way: str, until: str) -> str:
        try:
            match until:
                case "wait_for":
                    await asyncio.wait_for(self._chain(way), _SOON)
                case "timeout":
                    async with asyncio.timeout(_SOON):
                        await self._chain(way)
                case "sibling":
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._chain(way))
                        group.create_task(self._fail())
                case "timer":
                    stopper = asyncio.create_task(self._stop())
                    await self._chain(way)
                    await stopper
                case _:
                    await self._chain(way)
        except (TimeoutError, ActivityError) as error:
            # An activity that is under way when its caller is cancelled may end as cancelled, in place of the caller.
            if until not in ("wait_for", "timeout") or not is_over(error):
                raise
            return "timed out"
        except ExceptionGroup as group:
            return str(group.exceptions[0])
        return "stopped"

    async def _chain(self, way: str) -> None:
        while not self._is_stopped and self._steps < _MOST_STEPS:
            if way == "delegate":
                await delegate(tasks.double, self._steps)
            else:
                await workflow.execute_activity(tasks.double, self._steps, start_to_close_timeout=_TIMEOUT)
            self._steps += 1

    async def _stop(self) -> None:
        await asyncio.sleep(_SOON)
        self._is_stopped = True

    async def _fail(self) -> None:
        await asyncio.sleep(_SOON)
        raise ApplicationError("a sibling fails")

    @workflow.query
    def steps(self) -> int:
        return self._steps

    @workflow.signal
    def stop(self) -> None:
        self._is_stopped = True

    @workflow.update
    def stop_now(self) -> int:
        self._is_stopped = True
        return self._steps
