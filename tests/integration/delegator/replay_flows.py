"""A workflow whose code is data, so that a test can change it between a run and a replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow

from delegator import delegate, delegate_map

TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True)
class Step:
    """One call."""

    activity: str
    """The activity type."""
    jobs: int = 1
    """More than one: a map of so many."""
    task_queue: str | None = None
    """Where an activity is to run."""
    since: str | None = None
    """The patch that brought the step; None: it was always there."""


Program = Sequence[Sequence[Step]]
"""What a workflow does: each turn is calls that are made at once."""


@dataclass
class Code:
    """The code of the workflow, as deployed now."""

    program: Program = ()
    queues: dict[str, str] = field(default_factory=dict)
    """The queue in which `delegate` finds a type, if not the default one."""


CODE = Code()


@workflow.defn(sandboxed=False)
class Runs:
    """Makes the calls. It goes on after whatever they raise, as a workflow with a broad `except` does."""

    @workflow.run
    async def run(self, way: str) -> None:
        for turn in CODE.program:
            steps = [step for step in turn if step.since is None or workflow.patched(step.since)]
            try:
                await asyncio.gather(*(call for step in steps for call in self.calls(way, step)))
            except Exception:
                await workflow.sleep(0)

    @staticmethod
    def calls(way: str, step: Step) -> list[Awaitable[Any]]:
        if way == "delegate":
            queue = CODE.queues.get(step.task_queue or "", "default")
            if step.jobs == 1:
                return [delegate(step.activity, 1, queue=queue)]
            return [delegate_map(step.activity, range(step.jobs), queue=queue)]
        return [
            workflow.execute_activity(step.activity, number, task_queue=step.task_queue, start_to_close_timeout=TIMEOUT)
            for number in range(step.jobs)
        ]
