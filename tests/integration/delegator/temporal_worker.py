"""A Temporal worker in a process of its own, to be killed: `python -m ... <task queue>`."""

from __future__ import annotations

import asyncio
import sys

from temporalio.worker import Worker

from delegator import DelegatorPlugin, Settings
from delegator.runtime.temporal_client import connect_temporal, load_data_converter
from tests.integration.delegator import flows, tasks
from tests.integration.delegator.environment import PATIENT


async def main(task_queue: str) -> None:
    settings = Settings.load()
    client = await connect_temporal(load_data_converter(settings.data_converter), identity="to be killed", lazy=False)
    plugin = DelegatorPlugin([tasks], settings=settings, options=PATIENT, intercept=True)
    await Worker(client, task_queue=task_queue, workflows=[flows.WaitsDirectly], plugins=[plugin]).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
