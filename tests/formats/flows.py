"""The workflows whose histories are recorded. Change none: the stored histories of every version replay with it.

A workflow compares what it got with what it expects and fails if it differs. In a replay, that failure is a command
which the history lacks. So a stored outcome that is decoded wrongly fails the test.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError

from delegator import delegate, delegate_map

with workflow.unsafe.imports_passed_through():
    import tests.formats.jobs as jobs

TIMEOUT = timedelta(seconds=60)
STORED_JOBS = {
    "waiting": ("double", int),
    "policy": ("unlucky", None),
    "backing-off": ("resume", list),
    "overdue": ("double", int),
    "completed-inline": ("double", int),
    "completed-signal": ("double", int),
    "failed-inline": ("refuse", None),
    "failed-signal": ("refuse", None),
    "dead": ("double", int),
}
"""The jobs of the stored rows: their ids, what runs them and what they return."""


def expect(actual: Any, wanted: Any) -> None:
    if actual != wanted:
        raise ApplicationError(f"{actual!r} is not {wanted!r}", non_retryable=True)


@workflow.defn
class Steps:
    """One call after another."""

    @workflow.run
    async def run(self) -> None:
        expect(await delegate(jobs.double, 1), 2)
        expect(await delegate("double", 21, result_type=int), 42)


@workflow.defn
class Map:
    """Many calls at once."""

    @workflow.run
    async def run(self) -> None:
        expect(await delegate_map(jobs.double, range(5)), [0, 2, 4, 6, 8])


@workflow.defn
class DropIn:
    """Ordinary calls of activities, intercepted."""

    @workflow.run
    async def run(self) -> None:
        expect(await workflow.execute_activity(jobs.double, 1, start_to_close_timeout=TIMEOUT), 2)
        expect(await workflow.execute_activity(jobs.double, 21, start_to_close_timeout=TIMEOUT), 42)


@workflow.defn
class Fails:
    """A call that fails."""

    @workflow.run
    async def run(self) -> None:
        try:
            await delegate(jobs.refuse, "no")
        except ActivityError as error:
            expect(describe(error), ["NON_RETRYABLE_FAILURE", "Refused", "refused: no", [{"reason": "no"}]])
        else:
            raise ApplicationError("it did not fail", non_retryable=True)


@workflow.defn
class Cancels:
    """Cancels a call that runs, after another call."""

    def __init__(self) -> None:
        self.may_cancel = False

    @workflow.run
    async def run(self) -> None:
        expect(await delegate(jobs.double, 1), 2)
        task = asyncio.create_task(
            delegate(jobs.never_ends, cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
        )
        await workflow.wait_condition(lambda: self.may_cancel)
        task.cancel()
        try:
            await task
        except ActivityError as error:
            expect(isinstance(error.cause, CancelledError), True)
        else:
            raise ApplicationError("it was not cancelled", non_retryable=True)

    @workflow.signal
    def cancel(self) -> None:
        self.may_cancel = True


@workflow.defn
class GoesOn:
    """Goes on as a new run."""

    @workflow.run
    async def run(self, runs: int) -> None:
        expect(await delegate(jobs.double, runs), 2 * runs)
        if runs:
            workflow.continue_as_new(runs - 1)


@workflow.defn
class Stored:
    """Waits for jobs whose rows are in the queue already."""

    @workflow.run
    async def run(self, version: int) -> dict[str, Any]:
        calls = [
            self.call(f"v{version}-{name}", job_type, result_type)
            for name, (job_type, result_type) in STORED_JOBS.items()
        ]
        return dict(zip(STORED_JOBS, await asyncio.gather(*calls), strict=True))

    @staticmethod
    async def call(job_id: str, job_type: str, result_type: Any) -> Any:
        try:
            return await delegate(job_type, "not in the stored row", unique_id=job_id, result_type=result_type)
        except ActivityError as error:
            return describe(error)


def describe(error: ActivityError) -> list[Any]:
    """Return how a call failed, for a comparison."""
    cause, state = error.cause, None if error.retry_state is None else error.retry_state.name
    if isinstance(cause, TimeoutError):
        last = cause.__cause__
        return [state, "TimeoutError", str(cause), [str(last)]]
    assert isinstance(cause, ApplicationError)
    return [state, cause.type, cause.message, list(cause.details)]


ALL = [Steps, Map, DropIn, Fails, Cancels, GoesOn, Stored]
