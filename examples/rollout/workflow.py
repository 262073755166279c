"""The workflow: the runbook of a migration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType

from delegator import delegate_map

with workflow.unsafe.imports_passed_through():
    import examples.rollout.tasks as tasks
    from examples.rollout.tasks import Target

Job = Callable[[Target], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """What is rolled out, and where."""

    rollout: str
    databases: list[str]
    """The first one is the canary."""
    version: int
    statements: str
    batch_size: int = 5
    wait_seconds: int = 86_400
    """How long a person may look at the canary. Nobody's answer means no."""


@workflow.defn
class Rollout:
    """Migrates all databases, or none."""

    def __init__(self) -> None:
        self._go: bool | None = None
        self._state = "migrating the canary"

    @workflow.run
    async def run(self, plan: Plan) -> None:
        """Migrate. Whatever goes wrong comes out after all databases are as they were, and unlocked."""
        targets = [Target(plan.rollout, name, plan.version, plan.statements) for name in plan.databases]
        batches = [targets[at : at + plan.batch_size] for at in range(1, len(targets), plan.batch_size)]
        begun: list[Target] = []
        try:
            await self._migrate(targets[:1], begun)
            self._state = "waiting for a person"
            timeout = timedelta(seconds=plan.wait_seconds)
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(lambda: self._go is not None, timeout=timeout)
            if not self._go:
                why = "nobody said go in time" if self._go is None else "a person said no"
                raise ApplicationError(why, type="Stopped", non_retryable=True)
            for number, batch in enumerate(batches, 1):
                self._state = f"migrating batch {number} of {len(batches)}"
                await self._migrate(batch, begun)
        except (ActivityError, ApplicationError, asyncio.CancelledError):
            self._state = "rolling back"
            await _to_the_end(self._restore(begun[::-1]))
            self._state = "rolled back"
            raise
        await _to_the_end(_all(tasks.unlock, targets))
        self._state = "done"

    @workflow.signal
    def decide(self, go: bool) -> None:
        """Say whether the other databases follow. The first answer counts."""
        if self._go is None:
            self._go = go

    @workflow.query
    def state(self) -> str:
        """Return what is going on."""
        return self._state

    async def _migrate(self, targets: Sequence[Target], begun: list[Target]) -> None:
        begun += targets  # before the first step: one that fails or times out may have taken effect
        await _all(tasks.lock, targets)
        # They stay locked until the end, because a restored dump would lose what was written since.
        await _all(tasks.dump, targets)
        await _all(tasks.migrate, targets)

    async def _restore(self, begun: Sequence[Target]) -> None:
        await _all(tasks.restore, begun)
        await _all(tasks.unlock, begun)


async def _all(job: Job, targets: Sequence[Target]) -> None:
    """Run a job for each database. All have ended before a failure comes out."""
    outcomes = await delegate_map(
        job,
        targets,
        return_exceptions=True,
        retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _to_the_end(work: Awaitable[None]) -> None:
    """Await what a cancellation of the workflow must not end."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()
