"""One Temporal worker process of an arm: `python -m loadtest.worker --arm ARM --task-queue QUEUE`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from typing import Final

import uvloop
from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConfig
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from loadtest.arms import arm_named
from loadtest.tasks import crunch
from loadtest.workflows import ActivityWork, DelegatedWork, FloorWork

# The same for every arm; chosen for `classic`, which suffers most from what is too small.
_WORKFLOW_SLOTS: Final = 200
_ACTIVITY_SLOTS: Final = 500
_POLLERS: Final = 10


async def serve(arm_name: str, task_queue: str) -> None:
    """Run the worker until SIGTERM.

    Args:
        arm_name: decides about the delegator's plugin.
        task_queue: the run's task queue.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = await Client.connect(**ClientConfig.load_client_connect_config(), plugins=plugins(arm_name))
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[FloorWork, ActivityWork, DelegatedWork],
        activities=[crunch],
        max_concurrent_workflow_tasks=_WORKFLOW_SLOTS,
        max_concurrent_activities=_ACTIVITY_SLOTS,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(_POLLERS),
        activity_task_poller_behavior=PollerBehaviorSimpleMaximum(_POLLERS),
    )
    async with worker:
        await stop.wait()


def plugins(arm_name: str) -> Sequence[Plugin]:
    """Return the client plugins of an arm."""
    if not arm_named(arm_name).delegates:
        return []
    from delegator.config import Settings
    from delegator.plugin import DelegatorPlugin, PluginOptions

    # No run was begun without the interceptor, so none needs the marker that tells such runs apart.
    options = PluginOptions(intercept=arm_name == "drop-in", patch=False)
    return [DelegatorPlugin(delegated=[crunch], settings=Settings.load(), options=options)]


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="loadtest.worker")
    parser.add_argument("--arm", required=True)
    parser.add_argument("--task-queue", required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.arm, arguments.task_queue))


if __name__ == "__main__":
    main()
