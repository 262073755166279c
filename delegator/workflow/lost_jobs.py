"""Ends the wait for what is gone: a workflow keeps its own deadlines, and asks for jobs that it should have heard of.

A row can be lost in a failover or a restore, and its `schedule_to_close_timeout` with it. A workflow that waits for
longer than inline waiting takes one timer. When it fires, calls beyond their deadline are timed out. One is not if its
queue says that the job is in time: the deadline of a paused job stands still. And the queue is asked which jobs it
still has. A job that it lacks twice in succession is enqueued again, with its id. Between the two questions an outcome
arrives that was on its way at the first one.

No timer is started in a replay of a history whose replies do not say after which time to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from delegator_schema.options import SCHEDULE_TO_CLOSE_MS, START_DELAY_MS
from temporalio import workflow
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

from delegator.errors import WireError
from delegator.wire.outcomes import Outcome, OutcomeStatus, Reply
from delegator.wire.pending import Looked, unpack_looked
from delegator.wire.requests import LOOK_ACTIVITY, pack_look
from delegator.workflow.calls import WITHDRAWN, Call
from delegator.workflow.chunks import batched
from delegator.workflow.labels import look_summary, waits_summary
from delegator.workflow.local_activities import LocalActivities
from delegator.workflow.searchable import SearchAttributes

GRACE_SECONDS: Final = 15.0
"""How long after its deadline a call is timed out here. Usually a worker or maintenance does it, and knows more."""

_ASK_AGAIN_SECONDS: Final = 10.0
_LONGEST_SECONDS: Final = 3600.0
_ASK_LIMIT: Final = timedelta(seconds=10)
_MOST_ASKED_FOR: Final = 2_000


class LostJobs:
    """Watches the calls of one run that did not end inline."""

    def __init__(
        self,
        pending: Mapping[str, Call],
        local_activities: LocalActivities,
        *,
        resolve: Callable[[str, Outcome], Any],
        enqueue_again: Callable[[list[Call]], None],
        spawn: Callable[[Any], asyncio.Task[None]],
        search_attributes: SearchAttributes,
    ) -> None:
        """Begin without a timer.

        Args:
            pending: the run's calls without an outcome, by job id.
            local_activities: asks the queues.
            resolve: takes a job id and the outcome of its call.
            enqueue_again: enqueues jobs with the ids that they had.
            spawn: starts a task of the run.
            search_attributes: of the run.
        """
        self._pending = pending
        self._local_activities = local_activities
        self._resolve = resolve
        self._enqueue_again = enqueue_again
        self._spawn = spawn
        self._search_attributes = search_attributes
        self._deadlines: dict[str, float] = {}
        self._suspects: set[str] = set()
        self._pause = 0.0
        self._asks_at_deadline = False
        self._postponement = GRACE_SECONDS
        self._ask_at = float("inf")
        self._wakes_at = float("inf")
        self.task: asyncio.Task[None] | None = None
        """Sleeps until there is something to do; None: no call is watched."""

    def expect(self, calls: Iterable[Call], reply: Reply) -> None:
        """Watch calls whose outcomes will be signalled.

        Args:
            calls: the calls.
            reply: to their request. It says after how long to ask for their jobs. If never, their deadlines are kept
                all the same.
        """
        after_ms = reply.look_ms
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting: set[str] = set()
        for call in calls:
            if call.job_id in self._pending:
                waiting.add(call.spec.job.type)
                seconds = seconds_to_close(call)
                if seconds is not None:
                    self._deadlines[call.job_id] = now + seconds + GRACE_SECONDS
        if not waiting:
            return
        if reply.is_searchable:
            self._search_attributes.waits_for(waiting)
        self._asks_at_deadline = reply.asks_at_deadline
        if after_ms and self._ask_at == float("inf"):
            self._pause = after_ms / 1000
            self._ask_at = now + self._pause
        if self._next() < self._wakes_at:
            self.stop()
            self.task = self._spawn(self._watch())

    def stop(self) -> None:
        """Stop the timer, because no call waits or an earlier deadline came."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
            self._wakes_at = float("inf")

    def ended(self) -> None:
        """Note that the last call has its outcome."""
        self.stop()
        self._deadlines.clear()
        self._suspects.clear()
        self._ask_at = float("inf")
        self._search_attributes.retries(is_retrying=False)

    def _next(self) -> float:
        return min(self._ask_at, min(self._deadlines.values(), default=float("inf")))

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while (at := self._next()) != float("inf"):
            self._wakes_at = at
            await workflow.sleep(max(0.001, at - loop.time()), summary=waits_summary(self._pending.values()))
            self._wakes_at = float("-inf")  # nothing restarts this task while it asks
            if due := self._due(loop.time()):
                await self._time_out(due)
            if loop.time() >= self._ask_at:
                await self._ask()
        self._wakes_at = float("inf")
        self.task = None

    def _due(self, now: float) -> list[Call]:
        """Return the calls whose deadlines are over, and forget these deadlines."""
        due = []
        for job_id, at in list(self._deadlines.items()):
            if job_id not in self._pending:
                del self._deadlines[job_id]
            elif at <= now:
                del self._deadlines[job_id]
                due.append(self._pending[job_id])
        return due

    async def _time_out(self, due: Sequence[Call]) -> None:
        """Time calls out. One whose queue says that it is in time, because it is or was paused, gets a new deadline."""
        looked = await self._look(due, at_deadline=True) if self._asks_at_deadline else None
        in_time = set() if looked is None else set(looked.in_time)
        again = asyncio.get_running_loop().time() + self._postponement
        if in_time:
            self._postponement = min(2 * self._postponement, _LONGEST_SECONDS)
        for call in due:
            if call.outcome is not None:
                continue
            if call.job_id in in_time:
                self._deadlines[call.job_id] = again
                continue
            workflow.logger.warning("job_timed_out_by_workflow", extra={"job_id": call.job_id})
            self._resolve(call.job_id, timed_out(call))

    async def _ask(self) -> None:
        calls = [call for call in self._pending.values() if _is_awaited(call)]
        looked = await self._look(calls) if calls else Looked([])
        missing = None if looked is None else set(looked.missing)
        if looked is not None and looked.is_retrying is not None:
            self._search_attributes.retries(is_retrying=looked.is_retrying)
        self._pause = min(self._pause * 2, _LONGEST_SECONDS)
        lost: list[Call] = []
        if missing is not None:
            lost = [call for call in calls if call.job_id in missing & self._suspects and call.outcome is None]
            self._suspects = missing - {call.job_id for call in lost}
        again = _ASK_AGAIN_SECONDS if self._suspects else self._pause
        self._ask_at = asyncio.get_running_loop().time() + again if self._pending else float("inf")
        for call in lost:
            if call.is_cancelled:
                self._resolve(call.job_id, WITHDRAWN)
        if rest := [call for call in lost if call.outcome is None]:
            workflow.logger.warning("lost_jobs_enqueued_again", extra={"jobs": len(rest)})
            self._enqueue_again(rest)

    async def _look(self, calls: Sequence[Call], *, at_deadline: bool = False) -> Looked | None:
        """Return what the queues say about jobs; None: they do not answer.

        Args:
            calls: the jobs' calls.
            at_deadline: their deadlines are over by the workflow's clock.
        """
        missing: list[str] = []
        in_time: list[str] = []
        retrying: set[bool | None] = set()
        for chunk in batched(calls, _MOST_ASKED_FOR):
            try:
                reply = await self._local_activities.run(
                    LOOK_ACTIVITY,
                    pack_look([(call.spec.job.queue, call.job_id) for call in chunk], at_deadline=at_deadline),
                    schedule_to_close_timeout=_ASK_LIMIT,
                    summary=look_summary(chunk),
                )
                looked = unpack_looked(reply)
            except (ActivityError, WireError):
                return None
            missing += looked.missing
            in_time += looked.in_time
            retrying.add(looked.is_retrying)
        return Looked(missing, None if None in retrying else True in retrying, in_time)


def seconds_to_close(call: Call) -> float | None:
    """Return how long a call may take by its schedule-to-close timeout; None: it has none."""
    options = call.spec.job.options or {}
    limit = options.get(SCHEDULE_TO_CLOSE_MS)
    return None if limit is None else (limit + options.get(START_DELAY_MS, 0)) / 1000


def longest_enqueueing(calls: Iterable[Call]) -> float | None:
    """Return after how long no call needs to be enqueued any more; None: one of them has no deadline."""
    limits = [seconds_to_close(call) for call in calls]
    known = [limit for limit in limits if limit is not None]
    return max(known) + GRACE_SECONDS if len(known) == len(limits) else None


def timed_out(call: Call) -> Outcome:
    """Return the outcome of a call whose deadline has passed, though nobody has said so."""
    failure = Failure(message="Activity task timed out")
    info = failure.activity_failure_info
    info.activity_type.name, info.activity_id = call.spec.job.type, call.job_id
    info.retry_state = RetryState.RETRY_STATE_TIMEOUT
    failure.cause.message = "activity ScheduleToClose timeout"
    failure.cause.source = "Server"
    failure.cause.timeout_failure_info.timeout_type = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
    return Outcome(OutcomeStatus.FAILED, failure.SerializeToString())


def _is_awaited(call: Call) -> bool:
    """Return whether somebody waits for a call that a local activity has enqueued."""
    if call.sent is None or not call.sent.done():
        return False
    waits = call.spec.cancellation_type is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    return waits or not call.is_cancelled
