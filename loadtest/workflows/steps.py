"""What the workflows share. It is passed through the sandbox, so it is loaded once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio import workflow

from loadtest.workload.handlers import RETRY, START_TO_CLOSE, crunch, toil
from loadtest.workload.jobs import Work, fold
from loadtest.workload.ledger import record_results
from loadtest.workload.scenarios import Pattern

Handler = Callable[[Any], Awaitable[int]]
"""The function that a job runs."""


def jobs_of(work: Work) -> tuple[Handler, Sequence[Any]]:
    """Return the handler of a workflow's jobs, and their inputs."""
    return (crunch, work.numbers()) if work.shape is None else (toil, work.chores())


async def run_jobs(
    work: Work,
    one: Callable[[Handler, Any], Awaitable[int]],
    all_at_once: Callable[[Handler, Sequence[Any]], Awaitable[Sequence[int]]],
) -> int:
    """Run a workflow's jobs and fold their answers.

    Args:
        work: the workflow's input.
        one: calls a handler with an input.
        all_at_once: calls it with each of many.
    """
    handler, inputs = jobs_of(work)
    if work.pattern is Pattern.IN_TURN:
        answers = []
        for job, task in enumerate(inputs):
            answers.append(await one(handler, task))
            _note(work, (job,))
        return fold(answers)
    results = await all_at_once(handler, inputs)
    _note(work, range(work.jobs))
    return fold(results)


def activity(handler: Handler, task: Any) -> Awaitable[int]:
    """Call an ordinary activity."""
    retry = RETRY if handler is toil else None
    return workflow.execute_activity(handler, task, start_to_close_timeout=START_TO_CLOSE, retry_policy=retry)


def _note(work: Work, jobs: Sequence[int]) -> None:
    if not workflow.unsafe.is_replaying():
        record_results(work.workflow, jobs)
