"""The load: how workflows are started, and what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from temporalio.client import ActivityFailureError, WorkflowFailureError
from temporalio.exceptions import FailureError
from temporalio.service import RPCError

from loadtest.work import Work


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one workflow."""

    work: Work
    """Its input."""
    seconds: float
    """From just before its start to its result, as the client sees it."""
    answer: int | None
    """What it returned; None when it failed."""
    error: str | None = None
    """Why it failed."""


async def closed_loop(
    execute: Callable[[Work], Awaitable[int]],
    works: Iterable[Work],
    *,
    concurrency: int,
    progress: Callable[[], None],
) -> list[Outcome]:
    """Keep a number of workflows in flight until all are done.

    Args:
        execute: starts a workflow and waits for its result.
        works: the inputs.
        concurrency: workflows in flight.
        progress: called after each.

    Raises:
        DelegatorError: `execute` can't work at all.
    """
    outcomes: list[Outcome] = []
    queue = iter(works)

    async def client() -> None:
        for work in queue:
            outcomes.append(await _one(execute, work))
            progress()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(client())
    except ExceptionGroup as errors:
        raise first(errors) from None
    return outcomes


async def _one(execute: Callable[[Work], Awaitable[int]], work: Work) -> Outcome:
    begin = time.perf_counter()
    try:
        answer = await execute(work)
    except ExceptionGroup as errors:
        error = first(errors)
        if not isinstance(error, _FAILURES):
            raise error from None
    except _FAILURES as failure:
        error = failure
    else:
        return Outcome(work, time.perf_counter() - begin, answer)
    return Outcome(work, time.perf_counter() - begin, None, describe(error))


_FAILURES = (WorkflowFailureError, ActivityFailureError, RPCError, FailureError)


def describe(error: BaseException) -> str:
    """Return the innermost cause of a failure, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


def first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
