"""A Temporal worker that delegates, to be killed: `-m tests.chaos.worker_main TASK_QUEUE INLINE_WAIT`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import KeepAliveConfig
from temporalio.worker import Worker

from delegator import DelegatorPlugin, PluginOptions
from delegator.runtime.shutdown import shutdown_signals
from tests.chaos import flows, tasks


async def main(task_queue: str, inline_wait: float) -> None:
    plugin = DelegatorPlugin(
        [tasks], options=PluginOptions(inline_wait=timedelta(seconds=inline_wait), intercept=True, patch=False)
    )
    async with shutdown_signals() as shutdown:
        client = await connect(plugin)
        worker = Worker(
            client,
            task_queue=task_queue,
            workflows=[flows.Chaos, flows.Poisoned],
            # How long Temporal waits for a worker that is gone: short, because the tests measure the engine's waits.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        )
        async with worker:
            print("worker_started", flush=True)
            await shutdown.requested.wait()


async def connect(plugin: DelegatorPlugin) -> Client:
    while True:
        try:
            return await Client.connect(
                os.environ["TEMPORAL_ADDRESS"],
                namespace=os.environ["TEMPORAL_NAMESPACE"],
                plugins=[plugin],
                keep_alive_config=KeepAliveConfig(interval_millis=10_000, timeout_millis=2_000),
            )
        except RuntimeError:
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
