"""The ends of attempts that Temporal activity tasks wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from temporalio.api.failure.v1 import Failure

from delegator.wire.outcomes import Outcome, OutcomeStatus
from http_workers.activity_tasks import ActivityTasks
from http_workers.attempt import Ended
from http_workers.job import Job

_TOGETHER_SECONDS: Final = 1.0


class TaskEnds:
    """Tells Temporal how activity tasks ended, and deletes their rows. One that Temporal refuses delays no other."""

    def __init__(
        self,
        activity_tasks: ActivityTasks,
        delete: Callable[[Sequence[Job]], Awaitable[None]],
        keep: Callable[[Sequence[tuple[Job, Outcome]]], Awaitable[None]],
    ) -> None:
        """Prepare.

        Args:
            activity_tasks: tells Temporal.
            delete: deletes the rows of jobs.
            keep: stores outcomes for the signaller.
        """
        self._activity_tasks = activity_tasks
        self._delete = delete
        self._keep = keep

    async def complete(self, tasks: Sequence[Ended]) -> None:
        """Tell Temporal of attempts that have ended. It takes about as long as the slowest of them."""
        by_call: dict[asyncio.Task[bool], Ended] = {}
        async with asyncio.TaskGroup() as group:
            for ended in tasks:
                by_call[group.create_task(self._activity_tasks.complete(ended))] = ended
            # Usually Temporal takes all at once, and one statement deletes their rows.
            waiting: set[asyncio.Task[bool]] = set(by_call)
            taken, waiting = await asyncio.wait(waiting, timeout=_TOGETHER_SECONDS)
            await self._end([by_call[call] for call in taken if call.result()])
            while waiting:
                taken, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                await self._end([by_call[call] for call in taken if call.result()])
        if refused := [ended for call, ended in by_call.items() if not call.result()]:
            await self._keep([(ended.job, _outcome_of(ended)) for ended in refused])

    async def _end(self, completed: Sequence[Ended]) -> None:
        if completed:
            await self._delete([ended.job for ended in completed])


def _outcome_of(ended: Ended) -> Outcome:
    """Return how an attempt ended. Temporal decides what follows."""
    if ended.result is not None:
        return Outcome(OutcomeStatus.COMPLETED, ended.result)
    failure = ended.failure or Failure()
    is_canceled = ended.job.cancel_requested and failure.HasField("canceled_failure_info")
    return Outcome(OutcomeStatus.CANCELED if is_canceled else OutcomeStatus.FAILED, failure.SerializeToString())
