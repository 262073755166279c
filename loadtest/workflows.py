"""The workflows of the arms. `ActivityWork` serves classic and both drop-ins: the same code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from delegator import delegate, delegate_map
    from loadtest.ledger import record_results
    from loadtest.scenarios import Pattern
    from loadtest.tasks import RETRY, START_TO_CLOSE, crunch, toil
    from loadtest.work import Work, fold


@workflow.defn(name="loadtest_floor")
class FloorWork:
    """A workflow that returns at once: what Temporal costs before any job."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Return the number of the workflow."""
        return work.workflow


@workflow.defn(name="loadtest_activities")
class ActivityWork:
    """Ordinary activities."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        handler, inputs = _jobs(work)
        if work.pattern is Pattern.IN_TURN:
            return await _in_turn(work, inputs, lambda task: _activity(handler, task))
        answers = await asyncio.gather(*(_activity(handler, task) for task in inputs))
        _note(work, range(work.jobs))
        return fold(answers)


@workflow.defn(name="loadtest_delegated")
class DelegatedWork:
    """Delegated jobs."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        handler, inputs = _jobs(work)
        if work.pattern is Pattern.IN_TURN:
            return await _in_turn(work, inputs, lambda task: delegate(handler, task))
        answers = await delegate_map(handler, inputs)
        _note(work, range(work.jobs))
        return fold(answers)


@workflow.defn(name="loadtest_gathered")
class GatheredWork:
    """Delegated jobs, called one by one as activities are."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        handler, inputs = _jobs(work)
        if work.pattern is Pattern.IN_TURN:
            return await _in_turn(work, inputs, lambda task: delegate(handler, task))
        answers = await asyncio.gather(*(delegate(handler, task) for task in inputs))
        _note(work, range(work.jobs))
        return fold(answers)


def _jobs(work: Work) -> tuple[Callable[[Any], Awaitable[int]], Sequence[Any]]:
    return (crunch, work.numbers()) if work.shape is None else (toil, work.chores())


async def _in_turn(work: Work, inputs: Sequence[Any], call: Callable[[Any], Awaitable[int]]) -> int:
    answers = []
    for job, task in enumerate(inputs):
        answers.append(await call(task))
        _note(work, (job,))
    return fold(answers)


def _activity(handler: Callable[[Any], Awaitable[int]], task: Any) -> Awaitable[int]:
    retry = RETRY if handler is toil else None
    return workflow.execute_activity(handler, task, start_to_close_timeout=START_TO_CLOSE, retry_policy=retry)


def _note(work: Work, jobs: Sequence[int]) -> None:
    if not workflow.unsafe.is_replaying():
        record_results(work.workflow, jobs)
