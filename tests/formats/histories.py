"""Which histories are recorded, and how."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from temporalio.client import WorkflowHistory
from temporalio.worker import Worker

from delegator import DelegatorPlugin, PluginOptions, Settings
from tests.formats import flows, jobs
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment, eventually

ENCRYPTION: Final = "tests.integration.delegator.encryption:converter"
CONVERTERS: Final = {"plain": None, "encrypted": ENCRYPTION}
JOBS: Final = "tests.formats.jobs"


@dataclass(frozen=True)
class Recorded:
    """A history to record."""

    run: Any
    """The workflow's method."""
    args: Sequence[Any] = ()
    """Its arguments."""
    options: PluginOptions = PATIENT
    """Of the plugin: whether it waits inline."""
    converter: str = "plain"
    """Key of `CONVERTERS`."""


HISTORIES: Final = {
    "delegate-inline": Recorded(flows.Steps.run),
    "delegate-signal": Recorded(flows.Steps.run, options=SIGNALLED),
    "map-inline": Recorded(flows.Map.run),
    "map-signal": Recorded(flows.Map.run, options=SIGNALLED),
    "drop-in-inline": Recorded(flows.DropIn.run),
    "drop-in-signal": Recorded(flows.DropIn.run, options=SIGNALLED),
    "failure-inline": Recorded(flows.Fails.run),
    "failure-signal": Recorded(flows.Fails.run, options=SIGNALLED),
    "cancellation": Recorded(flows.Cancels.run, options=SIGNALLED),
    "continue-as-new": Recorded(flows.GoesOn.run, [1]),
    "encrypted-inline": Recorded(flows.Steps.run, converter="encrypted"),
    "encrypted-signal": Recorded(flows.Steps.run, options=SIGNALLED, converter="encrypted"),
    "encrypted-failure": Recorded(flows.Fails.run, options=SIGNALLED, converter="encrypted"),
}
"""By the name of the stored file."""


def plugin(settings: Settings, options: PluginOptions) -> DelegatorPlugin:
    """Return the plugin with which the workflows are recorded and replayed."""
    return DelegatorPlugin([jobs], settings=settings, options=options, intercept=True)


@asynccontextmanager
async def worker(engine: Environment, options: PluginOptions, task_queue: str) -> AsyncIterator[None]:
    """Run a Temporal worker for the workflows."""
    async with Worker(
        engine.client,
        task_queue=task_queue,
        workflows=flows.ALL,
        plugins=[plugin(engine.settings, options)],
        identity="recorded",
    ):
        yield


async def record(engine: Environment, name: str) -> WorkflowHistory:
    """Run a workflow to its end and return its history; of several runs, the first one's."""
    recorded = HISTORIES[name]
    async with worker(engine, recorded.options, name):
        handle = await engine.start(recorded.run, *recorded.args, task_queue=name, id=name)
        if recorded.run is flows.Cancels.run:

            async def runs() -> bool:
                return bool(await engine.rows("job_type = 'never_ends' AND lease_id IS NOT NULL"))

            await eventually(runs)
            await handle.signal(flows.Cancels.cancel)
        await engine.result(handle)
        first = engine.client.get_workflow_handle(name, run_id=handle.first_execution_run_id)
        return await first.fetch_history()
