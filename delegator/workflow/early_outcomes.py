"""Outcomes that arrive before the workflow code that causes them.

When a workflow task is lost, Temporal runs it again. Signals that have arrived in the meantime come first then: before
the code that makes a call, and before the code that cancels it. An outcome of a call that is not made is kept for it.
The outcome of a job that ended because it was cancelled waits until the workflow's code has had the events that came
before the signal. So a cancelled call and a cancelled workflow end as they would have in the lost task. A result does
not wait: nothing tells whether the job was asked to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from google.protobuf.message import DecodeError
from temporalio import workflow
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.workflow import ActivityCancellationType

from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.workflow.calls import Call

PATCH_ID: Final = "delegator.cancelled"
"""The patch marker of a run in which an outcome waited for its cancellation. An older release's history has none."""

_UNTIL_NEXT_TASK: Final = timedelta(milliseconds=1)


class EarlyOutcomes:
    """The early outcomes of one workflow run."""

    def __init__(self, resolve: Callable[[str, Outcome], Any], spawn: Callable[[Any], Any]) -> None:
        """Begin without outcomes.

        Args:
            resolve: takes a job id and the outcome of its call.
            spawn: starts a task of the run.
        """
        self._resolve = resolve
        self._spawn = spawn
        self._uncalled: dict[str, Outcome] = {}
        self._uncancelled: dict[str, Outcome] = {}
        self._waits: list[str] = []
        self._history_length = -1

    def __bool__(self) -> bool:
        """Return whether there are outcomes of calls that are not made."""
        return bool(self._uncalled)

    def keep(self, job_id: str, outcome: Outcome) -> None:
        """Keep the outcome of a job that no call has."""
        self._uncalled[job_id] = outcome

    def give(self, call: Call) -> bool:
        """Give a call that is made now the outcome that was kept for it. Return False if there is none."""
        outcome = self._uncalled.pop(call.job_id, None)
        if outcome is None:
            return False
        if self.waits(call, outcome):
            # No local activity enqueues it again. For a cancellation it counts as enqueued.
            call.sent = asyncio.get_running_loop().create_future()
            call.sent.set_result(None)
        else:
            self._resolve(call.job_id, outcome)
        return True

    def waits(self, call: Call, outcome: Outcome) -> bool:
        """Let an outcome wait that a cancellation caused while its call is not cancelled here. Return whether it waits.

        Without a cancellation by the workflow (a person cancelled the job) it waits for one workflow task.
        """
        if (
            call.is_cancelled
            or call.outcome is not None
            or call.spec.cancellation_type is ActivityCancellationType.ABANDON
            or not _was_cancelled(outcome)
            or not workflow.patched(PATCH_ID)
        ):
            return False
        history_length = workflow.info().get_current_history_length()
        if history_length != self._history_length:  # each workflow task has a timer of its own
            self._history_length, self._waits = history_length, []
            self._spawn(self._end_wait(self._waits))
        self._waits.append(call.job_id)
        self._uncancelled[call.job_id] = outcome
        return True

    def has(self, call: Call) -> bool:
        """Return whether the outcome of a call waits for its cancellation."""
        return call.job_id in self._uncancelled

    def cancelled(self, calls: Iterable[Call]) -> None:
        """Give calls that are cancelled now the outcomes that waited for it."""
        if self._uncancelled:
            for call in calls:
                outcome = self._uncancelled.pop(call.job_id, None)
                if outcome is not None:
                    self._resolve(call.job_id, outcome)

    async def _end_wait(self, job_ids: Iterable[str]) -> None:
        # The timer fires in the next workflow task. By then the code has had all events of this one.
        await workflow.sleep(_UNTIL_NEXT_TASK, summary="outcomes of cancelled jobs")
        for job_id in job_ids:
            outcome = self._uncancelled.pop(job_id, None)
            if outcome is not None:
                self._resolve(job_id, outcome)


def _was_cancelled(outcome: Outcome) -> bool:
    """Return whether a job ended after it was asked to stop, without a result."""
    if outcome.status is not OutcomeStatus.FAILED:
        return outcome.status is OutcomeStatus.CANCELED
    try:
        failure = Failure.FromString(outcome.body)
    except DecodeError:  # an older release stored a failure with more causes than a parser reads
        return False
    return failure.activity_failure_info.retry_state == RetryState.RETRY_STATE_CANCEL_REQUESTED
