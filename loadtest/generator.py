"""The load: when workflows are started, and what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from temporalio.client import ActivityFailureError, WorkflowFailureError
from temporalio.exceptions import FailureError
from temporalio.service import RPCError

from loadtest.work import Work

Execute = Callable[[Work], Awaitable[int]]
"""Starts a workflow and waits for its result."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one workflow. Moments are seconds of a clock that only goes forward."""

    work: Work
    """Its input."""
    intended: float
    """When it should have been started."""
    started: float
    """When it was."""
    ended: float
    """When its result was there, as the client sees it."""
    answer: int | None
    """What it returned; None when it failed."""
    error: str | None = None
    """Why it failed."""

    @property
    def seconds(self) -> float:
        """From the intended start to the result: a generator that falls behind makes it longer, not shorter."""
        return self.ended - self.intended

    @property
    def lag(self) -> float:
        """How many seconds late it was started."""
        return self.started - self.intended


async def closed_loop(
    execute: Execute,
    works: Iterable[Work],
    *,
    concurrency: int,
    progress: Callable[[], None],
    intended: float | None = None,
) -> list[Outcome]:
    """Keep a number of workflows in flight until all are done.

    Args:
        execute: starts a workflow and waits for its result.
        works: the inputs.
        concurrency: workflows in flight.
        progress: called after each.
        intended: when all of them should have been started; None: each when there is room for it.

    Raises:
        DelegatorError: `execute` can't work at all.
    """
    outcomes: list[Outcome] = []
    queue = iter(works)

    async def client() -> None:
        for work in queue:
            outcomes.append(await _one(execute, work, time.perf_counter, intended))
            progress()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(client())
    except ExceptionGroup as errors:
        raise first(errors) from None
    return outcomes


async def bursts(
    execute: Execute, works: Sequence[Work], *, count: int, pause: float, progress: Callable[[], None]
) -> list[Outcome]:
    """Start equal shares of the workflows all at once, each when the one before is done and a pause has passed.

    Args:
        execute: starts a workflow and waits for its result.
        works: the inputs.
        count: how many bursts.
        pause: seconds between two of them.
        progress: called after each workflow.

    Raises:
        DelegatorError: `execute` can't work at all.
    """
    outcomes: list[Outcome] = []
    for number in range(count):
        if number:
            await asyncio.sleep(pause)
        burst = works[len(works) * number // count : len(works) * (number + 1) // count]
        outcomes += await closed_loop(
            execute, burst, concurrency=len(burst), progress=progress, intended=time.perf_counter()
        )
    return outcomes


async def open_loop(
    execute: Execute,
    works: Iterable[Work],
    *,
    rate: float,
    progress: Callable[[], None],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[Outcome]:
    """Start workflows at a fixed rate, whatever becomes of those before.

    Each has its intended start, which nothing moves: what starts late, because this process has too much to do, has
    its lateness in its latency.

    Args:
        execute: starts a workflow and waits for its result.
        works: the inputs.
        rate: workflows in a second.
        progress: called after each.
        clock: says what time it is, in seconds.
        sleep: waits for seconds.

    Raises:
        DelegatorError: `execute` can't work at all.
    """
    outcomes: list[Outcome] = []

    async def client(work: Work, intended: float) -> None:
        outcomes.append(await _one(execute, work, clock, intended))
        progress()

    try:
        async with asyncio.TaskGroup() as group:
            begin = clock()
            for number, work in enumerate(works):
                intended = begin + number / rate
                # Even when it is late already it must give way to those in flight.
                await sleep(max(0.0, intended - clock()))
                group.create_task(client(work, intended))
    except ExceptionGroup as errors:
        raise first(errors) from None
    return outcomes


def busy_seconds(outcomes: Iterable[Outcome]) -> float:
    """Return for how long at least one workflow was in flight."""
    total, end = 0.0, float("-inf")
    for outcome in sorted(outcomes, key=lambda outcome: outcome.intended):
        total += max(0.0, outcome.ended - max(outcome.intended, end))
        end = max(end, outcome.ended)
    return total


async def _one(execute: Execute, work: Work, clock: Callable[[], float], intended: float | None = None) -> Outcome:
    begin = clock()
    planned = begin if intended is None else intended
    try:
        answer = await execute(work)
    except ExceptionGroup as errors:
        error = first(errors)
        if not isinstance(error, _FAILURES):
            raise error from None
    except _FAILURES as failure:
        error = failure
    else:
        return Outcome(work, planned, begin, clock(), answer)
    return Outcome(work, planned, begin, clock(), None, describe(error))


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
