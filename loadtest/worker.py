"""One Temporal worker process of an arm: `python -m loadtest.worker --arm ARM --task-queue QUEUE --role ROLE`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import temporalio.client
import temporalio.worker
import uvloop
from temporalio import activity
from temporalio.client import Client, Plugin
from temporalio.client import ClientConfig as ClientConfiguration
from temporalio.envconfig import ClientConfig
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    PollerBehaviorSimpleMaximum,
    Worker,
)

from delegator.config import Settings
from delegator.runtime.memory import collect_rarely
from delegator.runtime.shutdown import shutdown_signals
from delegator.runtime.temporal_client import load_data_converter
from delegator.wire.outcomes import count_reply
from delegator.wire.requests import ENQUEUE_ACTIVITY
from loadtest.arms import arm_named
from loadtest.arms.base import Role
from loadtest.workflows.activities import ActivityWork
from loadtest.workflows.delegated import DelegatedWork
from loadtest.workflows.floor import FloorWork
from loadtest.workflows.gathered import GatheredWork
from loadtest.workflows.local import LocalWork
from loadtest.workload.handlers import crunch, nothing, toil
from loadtest.workload.ledger import record_wait

# The same for every arm, and large enough for `classic`, which needs the most.
WORKFLOW_SLOTS: Final = 200
ACTIVITY_SLOTS: Final = 1_000
POLLERS: Final = 10
_WORKFLOWS: Final = (FloorWork, LocalWork, ActivityWork, DelegatedWork, GatheredWork)


async def serve(arm_name: str, task_queue: str, role: Role) -> None:
    """Run the worker until SIGTERM. In every arm Python's garbage collector runs rarely, as in production.

    Args:
        arm_name: name of the arm, which may have the delegator's plugin.
        task_queue: the run's task queue.
        role: what it runs.
    """
    client = await Client.connect(
        **ClientConfig.load_client_connect_config(),
        data_converter=load_data_converter(Settings.load().data_converter),
        plugins=plugins(arm_name),
    )
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[] if role is Role.ACTIVITIES else _WORKFLOWS,
        activities=[] if role is Role.WORKFLOWS else [crunch, toil, nothing],
        max_concurrent_workflow_tasks=WORKFLOW_SLOTS,
        max_concurrent_activities=ACTIVITY_SLOTS,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(POLLERS),
        activity_task_poller_behavior=PollerBehaviorSimpleMaximum(POLLERS),
    )
    collect_rarely()
    async with shutdown_signals() as shutdown, worker:
        await shutdown.requested.wait()


def plugins(arm_name: str) -> Sequence[Plugin]:
    """Return the client plugins of an arm."""
    arm = arm_named(arm_name)
    if not arm.plugin:
        return []
    from delegator.plugin import DelegatorPlugin, PluginOptions

    # Every run begins with the interceptor, so no history needs the marker of runs that began without it.
    options = PluginOptions(intercept=arm.intercepts, patch=False)
    if not arm.waits_inline:
        options = replace(options, inline_wait=timedelta(0))
    return [DelegatorPlugin(delegated=[crunch, toil], settings=Settings.load(), options=options), _CountingPlugin()]


class _CountingPlugin(SimplePlugin):
    """Counts inline completions. It stands outside the plugin, which hides its own activities from others."""

    def __init__(self) -> None:
        super().__init__("loadtest-counting")

    def configure_client(self, config: ClientConfiguration) -> ClientConfiguration:
        config = super().configure_client(config)
        config["interceptors"] = [_CountInline(), *config.get("interceptors", ())]
        return config


class _CountInline(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Writes down how many jobs were completed inline."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Counting(next)


class _Counting(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        result = await super().execute_activity(input)
        if activity.info().activity_type == ENQUEUE_ACTIVITY:
            record_wait(*count_reply(result.payload.data))
        return result


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="loadtest.worker")
    parser.add_argument("--arm", required=True)
    parser.add_argument("--task-queue", required=True)
    parser.add_argument("--role", type=Role, choices=list(Role), default=Role.ALL)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.arm, arguments.task_queue, arguments.role))


if __name__ == "__main__":
    main()
