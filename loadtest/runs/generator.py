"""The load generator: starts workflows and notes the outcome of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.client import ActivityFailureError, WorkflowFailureError
from temporalio.exceptions import FailureError
from temporalio.service import RPCError

from delegator.runtime.exception_groups import first_error
from loadtest.failures import describe
from loadtest.workload.jobs import Work

Execute = Callable[[Work], Awaitable[int]]
"""Starts a workflow and waits for its result."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one workflow. Moments are seconds of a monotonic clock."""

    work: Work
    """Its input."""
    intended: float
    """When it should have been started."""
    started: float
    """When it was started."""
    ended: float
    """When the client had its result."""
    answer: int | None
    """What it returned; None when it failed."""
    error: str | None = None
    """Why it failed."""

    @property
    def seconds(self) -> float:
        """Seconds from the intended start to the result, so a late start makes it longer."""
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
        intended: when all of them should start; None: each as soon as another one ends.

    Raises:
        DelegatorError: no workflow of this arm can succeed.
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
        raise first_error(errors) from None
    return outcomes


async def bursts(
    execute: Execute, works: Sequence[Work], *, count: int, pause: float, progress: Callable[[], None]
) -> list[Outcome]:
    """Start the workflows in bursts of equal size. A burst begins when the last one is done and a pause is over.

    Args:
        execute: starts a workflow and waits for its result.
        works: the inputs.
        count: how many bursts.
        pause: seconds between two of them.
        progress: called after each workflow.

    Raises:
        DelegatorError: no workflow of this arm can succeed.
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
    """Start workflows at a fixed rate, whether earlier ones are done or not.

    Each has a fixed intended start. If this process has too much to do and starts it late, the delay is part of its
    latency.

    Args:
        execute: starts a workflow and waits for its result.
        works: the inputs.
        rate: workflows in a second.
        progress: called after each.
        clock: returns the time in seconds.
        sleep: waits for a number of seconds.

    Raises:
        DelegatorError: no workflow of this arm can succeed.
    """
    outcomes: list[Outcome] = []
    listed = list(works)

    async def client(number: int, intended: float) -> None:
        outcomes.append(await _one(execute, listed[number], clock, intended))
        progress()

    await at_moments(client, (number / rate for number in range(len(listed))), clock=clock, sleep=sleep)
    return outcomes


async def at_moments(
    start: Callable[[int, float], Coroutine[Any, Any, None]],
    moments: Iterable[float],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Start something at each moment, whether what was started earlier is done or not, and wait for all of it.

    Args:
        start: is given the number of the moment, from 0 on, and the moment by `clock`.
        moments: seconds from now, ascending.
        clock: returns the time in seconds.
        sleep: waits for a number of seconds.

    Raises:
        Exception: the first error of what was started.
    """
    try:
        async with asyncio.TaskGroup() as group:
            begin = clock()
            for number, moment in enumerate(moments):
                intended = begin + moment
                # Sleep even if it is late already, so that what is in flight can go on.
                await sleep(max(0.0, intended - clock()))
                group.create_task(start(number, intended))
    except ExceptionGroup as errors:
        raise first_error(errors) from None


def busy_seconds(outcomes: Iterable[Outcome]) -> float:
    """Return for how many seconds at least one workflow was in flight."""
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
        error = first_error(errors)
        if not isinstance(error, _FAILURES):
            raise error from None
    except _FAILURES as failure:
        error = failure
    else:
        return Outcome(work, planned, begin, clock(), answer)
    return Outcome(work, planned, begin, clock(), None, describe(error))


_FAILURES = (WorkflowFailureError, ActivityFailureError, RPCError, FailureError)
