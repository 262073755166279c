"""A saga for any workflow: steps, each with what undoes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, TypeVar

from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Terms:
    """What holds for each step of a saga."""

    step_seconds: int = 300
    """How long a step may take, retries included."""
    attempts_alone: int = 5
    """How often a compensation may fail before a person is asked for. It is tried on, without end."""


class Saga:
    """Undoes its steps, the last one first, when its `async with` block raises; the block's error stays the error."""

    def __init__(self, run: Callable[..., Awaitable[Any]], terms: Terms) -> None:
        """Begin a saga.

        Args:
            run: runs a job: `delegate`, or a function that takes the same arguments.
            terms: what holds for each step.
        """
        self._run, self._terms = run, terms
        self._compensations: list[tuple[Callable[[Any], Awaitable[None]], Any]] = []
        self.needs_person: list[str] = []
        """The steps whose compensation has failed `attempts_alone` times. It is tried on, without end."""

    async def step(
        self, action: Callable[[T], Awaitable[R]], undo: Callable[[T], Awaitable[None]] | None, argument: T
    ) -> R:
        """Run a step, and register what undoes it; None: nothing has to."""
        # Registered first: a step that fails or times out may have taken effect.
        if undo is not None:
            self._compensations.append((undo, argument))
        timeout = timedelta(seconds=self._terms.step_seconds)
        # Waits for a cancelled step to stop. Otherwise the compensation might come before the step's effect.
        waits = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        result: R = await self._run(action, argument, schedule_to_close_timeout=timeout, cancellation_type=waits)
        return result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        undoing = asyncio.ensure_future(self._undo()) if error else None
        while undoing and not undoing.done():
            # A second cancellation of the workflow ends this wait, and not the compensations.
            with suppress(asyncio.CancelledError):
                await asyncio.shield(undoing)

    async def _undo(self) -> None:
        stuck: list[asyncio.Future[None]] = []
        for undo, argument in reversed(self._compensations):
            try:
                policy = RetryPolicy(maximum_attempts=self._terms.attempts_alone)
                await self._run(undo, argument, retry_policy=policy)
            except ActivityError:
                stuck.append(asyncio.ensure_future(self._insist(undo, argument)))
        await asyncio.gather(*stuck)

    async def _insist(self, undo: Callable[[Any], Awaitable[None]], argument: object) -> None:
        self.needs_person.append(str(argument))
        while True:
            try:
                await self._run(undo, argument)
                return self.needs_person.remove(str(argument))
            except ActivityError:
                await asyncio.sleep(60)  # the failure is not retryable: a person changes something first
